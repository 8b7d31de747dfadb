"""Running commands against the clock, and telling what came out."""

from __future__ import annotations

import os
import platform
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


def timed(command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> float:
    """Seconds of wall clock from the start of a command to its end; what it prints goes to ``log``.

    Ends the benchmark where the command fails: there is no ratio then.
    """
    with log.open("ab") as output:
        started = time.perf_counter()
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(env or {})}, check=False
        )
        seconds = time.perf_counter() - started
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines()[-15:]
        raise SystemExit("\n".join([*lines, f"failed with exit code {done.returncode}: {' '.join(command)}"]))
    return seconds


def settle() -> None:
    """Let what the last run wrote reach the disk, so that no run pays for the one before."""
    os.sync()


def print_machine() -> None:
    """One line on the machine, its load, and the versions that matter."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("apache-beam", "polars", "pillow", "opencv-python-headless"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"machine: {len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{packages}; load before the start {load}",
        flush=True,
    )
