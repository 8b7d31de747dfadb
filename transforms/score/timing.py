"""Where the time of scoring goes, and what binds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from time import perf_counter
from typing import Literal

Phase = Literal["decode", "preprocess", "forward"]

#: A GPU that is busy for so large a part of the time is what binds.
_BUSY = 0.9


@dataclass(frozen=True)
class Timing:
    """Of one or more passes. Seconds of phases are summed over threads, so that they may exceed ``wall_s``.

    pairs: rows; pictures: distinct stored images among them.
    decode_s: reading and decoding stored bytes.
    preprocess_s: resizing pictures and tokenising texts.
    forward_s: in models; with a GPU, waiting for a turn on it too.
    device_busy_s: with a GPU, the time in which at least one batch was on it; 0 without.
    """

    pairs: int = 0
    pictures: int = 0
    decode_s: float = 0.0
    preprocess_s: float = 0.0
    forward_s: float = 0.0
    device_busy_s: float = 0.0
    wall_s: float = 0.0

    def __add__(self, other: Timing) -> Timing:
        return Timing(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    @property
    def pairs_per_s(self) -> float:
        """Pairs a second of wall clock."""
        return self.pairs / self.wall_s if self.wall_s else 0.0

    @property
    def shares(self) -> dict[Phase, float]:
        """The part of each phase in the time of all threads; adds up to 1 where anything was done."""
        phases: dict[Phase, float] = {
            "decode": self.decode_s,
            "preprocess": self.preprocess_s,
            "forward": self.forward_s,
        }
        total = sum(phases.values())
        return {phase: seconds / total if total else 0.0 for phase, seconds in phases.items()}

    @property
    def binds(self) -> Phase:
        """What more of would make it faster.

        On the CPU the phase with the largest share. With a GPU the models if it is busy nine tenths of the time, else
        the larger of what is done on the CPU.
        """
        shares = self.shares
        if self.device_busy_s and self.device_busy_s < _BUSY * self.wall_s:
            return "decode" if shares["decode"] >= shares["preprocess"] else "preprocess"
        if self.device_busy_s:
            return "forward"
        return max(shares, key=lambda phase: shares[phase])

    def told(self) -> str:
        """One line for people."""
        shares = ", ".join(f"{phase} {share:.0%}" for phase, share in self.shares.items())
        busy = f"; GPU busy {self.device_busy_s / self.wall_s:.0%}" if self.device_busy_s and self.wall_s else ""
        return f"{self.pairs_per_s:.0f} pairs/s: {shares}{busy}; {self.binds} binds"


@dataclass
class Stopwatch:
    """Adds up the seconds of phases over threads."""

    seconds: dict[Phase, float] = field(default_factory=lambda: {"decode": 0.0, "preprocess": 0.0, "forward": 0.0})
    device_busy_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Count the time within."""
        started = perf_counter()
        try:
            yield
        finally:
            self.add(phase, perf_counter() - started)

    def add(self, phase: Phase, seconds: float) -> None:
        """Count some seconds."""
        with self._lock:
            self.seconds[phase] += seconds

    def add_busy(self, seconds: float) -> None:
        """Count some seconds in which the GPU was busy."""
        with self._lock:
            self.device_busy_s += seconds
