"""One process of a benchmark of writing: ``python write_part.py HOW STATE FIRST STOP``.

HOW is ``ours`` (shards FIRST to STOP as a build writes them), ``move`` (images brought together before, of lanes FIRST
to STOP), ``webdataset`` (the same members by its ShardWriter, read from the spool by the same references) or ``disk``
(as many bytes as the shards have, from memory). Loads what it needs,
says ``ready``, waits for a line, works, syncs, and says ``done``.
"""

from __future__ import annotations

import os
import pickle
import resource
import sys
from pathlib import Path
from typing import Any

#: What the process had taken of the processor when its work began.
STARTED: list[float] = []


def ours(state: Any, first: int, stop: int) -> None:
    """The step of a build."""
    from pairmill.transforms.write_step import ShardRun, write_shards

    job = state["job"]
    ready()
    write_shards(job, ShardRun("train", first, stop, "benchmark"))


def move(state: Any, first: int, stop: int) -> None:
    """The step before, of a global order in two passes."""
    from pairmill.transforms.bucket_step import move_images

    ready()
    for lane in range(first, stop):
        move_images(state["job"], lane)


def webdataset(state: Any, first: int, stop: int) -> None:
    """What webdataset's ShardWriter takes for the same members; their records are encoded beforehand."""
    from webdataset import ShardWriter

    from pairmill.sharding.shard_plan import shard_sizes
    from pairmill.transforms.bucket_order import IMAGES, move_plan
    from pairmill.transforms.sample_rows import sample_rows
    from pairmill.transforms.shard_order import load_orders
    from pairmill.transforms.shard_records import record_lines, sample_keys

    job = state["job"]
    order = load_orders(job.parts / "orders.npz")["train"]
    sizes = shard_sizes(order.samples, order.shards)
    frame = sample_rows(job, order, sizes[first][0], sizes[stop - 1][1])
    places = frame.select("spool", "spool_offset", "stored_bytes").rows()
    told = list(zip(sample_keys(frame), places, frame["caption"].to_list(), record_lines(frame), strict=True))
    out = Path(state["webdataset"])
    folder = job.parts / IMAGES if move_plan(job).two_passes else job.fetch_store.spool_folder
    handles = {name: os.open(folder / name, os.O_RDONLY) for name in frame["spool"].unique()}
    ready()
    with ShardWriter(str(out / "train-%05d.tar"), maxcount=sizes[0][1] + 1, maxsize=1e12, verbose=0) as writer:
        for key, (spool, offset, size), caption, record in told:
            image = os.pread(handles[spool], size, offset)
            writer.write({"__key__": key, "jpg": image, "txt": caption.encode(), "json": record})
    for path in out.glob("*.tar"):
        sync(path)


def disk(state: Any, first: int, stop: int) -> None:
    """Nothing but bytes to the disk."""
    block = os.urandom(1 << 20)
    path = Path(state["disk"]) / f"bytes-{first}"
    blocks = state["bytes"] * (stop - first) // state["shards"] // len(block)
    ready()
    with path.open("wb", buffering=0) as file:
        for _ in range(blocks):
            file.write(block)
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Make a file durable."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def ready() -> None:
    """Say so, and wait for the start."""
    print("ready", flush=True)
    sys.stdin.readline()
    STARTED.append(processor_s())


def processor_s() -> float:
    """Seconds of processor that this process has taken."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Work as told; the last line is the processor time that it took, in seconds."""
    how, state, first, stop = sys.argv[1:]
    with open(state, "rb") as file:
        known = pickle.load(file)  # written by the benchmark that started this process
    {"ours": ours, "move": move, "webdataset": webdataset, "disk": disk}[how](known, int(first), int(stop))
    print(processor_s() - STARTED[0], flush=True)


if __name__ == "__main__":
    main()
