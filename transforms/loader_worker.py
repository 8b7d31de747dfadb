"""One loader process of ``loader_probe``: reads shards with webdataset, and says how much, as often as it is asked.

``python -m pairmill.transforms.loader_worker SHARD …`` prints ``ready``; then for each line that it is given, a JSON
object of ``seconds``, ``edge`` and ``cold``, a line with samples, bytes, seconds, seconds of processor, and seconds
that the process was ready to work and other programs had the cores.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def main(shards: list[str]) -> int:
    """Answer until there is nothing asked; returns the exit code."""
    import webdataset as wds

    def dataset() -> Any:
        return wds.WebDataset(shards, shardshuffle=False, empty_check=False)

    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        look = _look(asked["edge"])
        samples = size = 0
        before = clocks()
        for sample in _rounds(dataset, once=asked["cold"]):
            size += look(sample)
            samples += 1
            if time.perf_counter() - before[0] > asked["seconds"]:
                break
        spent = [now - then for now, then in zip(clocks(), before, strict=True)]
        print(json.dumps([samples, size, *spent]), flush=True)
    return 0


def clocks() -> tuple[float, float, float]:
    """Seconds: by the clock, of processor, and in the system's queue for a core (0 where the system does not tell)."""
    try:
        queued_ns = int(Path("/proc/self/schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        queued_ns = 0
    return time.perf_counter(), time.process_time(), queued_ns / 1e9


def _rounds(dataset: Callable[[], Any], once: bool) -> Iterator[dict[str, Any]]:
    while True:
        yield from dataset()
        if once:
            return


def _look(edge: int | None) -> Callable[[dict[str, Any]], int]:
    """What is done with a sample: bytes counted; the image decoded, resized and cut as CLIP's evaluation does."""
    from PIL import Image

    def look(sample: dict[str, Any]) -> int:
        members = {name: data for name, data in sample.items() if not name.startswith("__")}
        if edge:
            data = next((members[name] for name in ("jpg", "jpeg", "png", "webp") if name in members), None)
            if data is not None:
                image = Image.open(io.BytesIO(data)).convert("RGB")
                scale = edge / min(image.size)
                size = (max(edge, round(image.width * scale)), max(edge, round(image.height * scale)))
                left, top = (size[0] - edge) // 2, (size[1] - edge) // 2
                image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + edge, top + edge)).tobytes()
        return sum(map(len, members.values()))

    return look


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
