"""What is recorded of a training, beside the model that it made: ``training.json``."""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RECORD_FILE = "training.json"
_PACKAGES = (
    *("torch", "open_clip_torch", "transformers", "tokenizers", "safetensors", "ctranslate2", "sentencepiece"),
    *("numpy", "opencv-python-headless", "pillow"),
)


class Clock:
    """Seconds since it was made, on the wall and of this process and those it waited for on the processor."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), _cpu_s()

    def seconds(self) -> dict[str, int]:
        """``wall_s`` and ``cpu_s``."""
        return {"wall_s": round(time.monotonic() - self._wall), "cpu_s": round(_cpu_s() - self._cpu)}


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def write_record(folder: Path, command: str, trained: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Write what made the model in ``folder``, and the numbers that it has, with the sha256 of its weights."""
    weights = sorted(folder.glob("*.safetensors"))
    record = {
        "command": command,
        "trained": trained,
        "measured": measured,
        "weights_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights},
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": f"{platform.machine()}, {platform.system()}",
    }
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """What ``write_record`` wrote."""
    record: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    return record


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of nested dictionaries, by names with dots."""
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def told(measured: Mapping[str, Any], bars: Mapping[str, float]) -> str:
    """A line for each number, with its bar where it has one, and whether that is missed."""
    lines = []
    for name, value in flat(measured):
        bar = bars.get(name)
        verdict = "" if bar is None else f"  at least {bar:g}{'' if value >= bar else ': MISSED'}"
        lines.append(f"{name:<56} {value}{verdict}")
    return "\n".join(lines)


def missed(measured: Mapping[str, Any], bars: Mapping[str, float]) -> list[str]:
    """The bars that are not reached; a number that was not measured misses its bar."""
    numbers = dict(flat(measured))
    return [name for name, bar in bars.items() if not numbers.get(name, float("-inf")) >= bar]
