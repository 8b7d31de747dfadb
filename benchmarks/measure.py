"""Running commands against the clock, and telling what came out."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Bar:
    """A ratio that is to be reached: at least ``least``."""

    what: str
    least: float

    def told(self, ratios: Sequence[float]) -> str:
        """One line: the median of the ratios, all of them, and whether the bar is met."""
        middle = median(ratios)
        verdict = "met" if middle >= self.least else "missed"
        each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        return f"{self.what}: {middle:.3f} (of {each}); bar {self.least:.2f}: {verdict}"


def pairmill() -> str:
    """The command beside the Python that runs this."""
    command = Path(sys.executable).with_name("pairmill")
    if not command.is_file():
        raise SystemExit(f"{command} is not there; run: pip install -e '.[dev]'")
    return str(command)


@dataclass(frozen=True)
class Took:
    """What one run took: seconds of wall clock, and of processor time in it and all its children."""

    wall: float
    processor: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.processor:.1f} s of processor)"


def timed(command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Took:
    """Run a command from its start to its end; what it prints goes to ``log``.

    Ends the benchmark where the command fails: there is no ratio then.
    """
    with log.open("ab") as output:
        before = _children_s()
        started = time.perf_counter()
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            check=False,
        )
        seconds = time.perf_counter() - started
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines()[-15:]
        raise SystemExit("\n".join([*lines, f"failed with exit code {done.returncode}: {' '.join(command)}"]))
    return Took(seconds, _children_s() - before)


def rates(what: str, runs: Sequence[Took], pairs: int) -> str:
    """One line: the median of the runs as pairs a second, and as processor time a pair."""
    wall, processor = (median(getattr(run, name) for run in runs) for name in ("wall", "processor"))
    cost = 1000 * processor / pairs
    return f"{what}: median {pairs / wall:.0f} pairs/s, {wall:.1f} s; {cost:.2f} ms of processor a pair"


def ratios(one: Sequence[Took], other: Sequence[Took]) -> list[float]:
    """How many times as long each run of one took as the run of the other in the same pass."""
    return [a.wall / b.wall for a, b in zip(one, other, strict=True)]


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def settle() -> None:
    """Let what the last run wrote reach the disk, so that no run pays for the one before."""
    os.sync()


def print_machine() -> None:
    """One line on the machine, its load, and the versions that matter."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("apache-beam", "polars", "pillow", "opencv-python-headless")
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"machine: {len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{packages}; load before the start {load}",
        flush=True,
    )
