"""What a training loader reads on this machine: webdataset's own loader, with and without decoding, cold or warm.

Each loader worker is a process with shards of its own, as in a trainer; nothing is collated and nothing goes to a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pairmill.sharding.errors import PairmillError, UsageError


@dataclass(frozen=True)
class Reading:
    """How shards are read.

    seconds: how long at most; shards are begun anew where they end earlier. edge: to what
    square images are brought after decoding (shortest side, then the middle); None reads the bytes and decodes nothing.
    cold: what the page cache has of the shards is dropped first; then nothing is read twice.
    """

    seconds: float = 5.0
    edge: int | None = 224
    cold: bool = False

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"seconds must be above 0, not {self.seconds}")
        if self.edge is not None and not 1 <= self.edge <= 8192:
            raise ValueError(f"edge must be from 1 to 8192, not {self.edge}")


@dataclass(frozen=True)
class Read:
    """What was read: samples and bytes of members, and the seconds of the worker that took longest.

    ``processor_s`` and ``queued_s`` are the time that all workers together were on a core, and that they were ready
    but other programs had the cores; the rest of their time they waited for the disk.
    """

    samples: int
    bytes: int
    seconds: float
    processor_s: float
    queued_s: float = 0.0
    workers: int = 1

    @property
    def samples_per_s(self) -> float:
        """Of all workers."""
        return self.samples / self.seconds

    @property
    def bytes_per_s(self) -> float:
        """Of all workers."""
        return self.bytes / self.seconds

    @property
    def samples_per_core_s(self) -> float:
        """Of one worker that has a core for itself and never waits."""
        return self.samples / max(self.processor_s, 1e-9)

    @property
    def alone_samples_per_s(self) -> float:
        """Of all workers, had no other program taken the cores from them."""
        return self.samples / self._alone_s

    @property
    def binds(self) -> str:
        """What workers spend more of their own time on: ``processor``, or ``disk`` for which they wait."""
        return "processor" if self.processor_s >= self.workers * self._alone_s / 2 else "disk"

    @property
    def _alone_s(self) -> float:
        return max(self.seconds - self.queued_s / self.workers, 1e-9)


def drop_cache(paths: Sequence[Path]) -> None:
    """Make the operating system forget what it holds of these files, after writing what it has not yet written."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


class Loaders:
    """Loader processes over some shards, started once: what they import takes seconds.

    Raises UsageError where webdataset is not installed, PairmillError for a process that does not start, or a shard
    that it cannot read. Use it as a context manager.
    """

    def __init__(self, paths: Sequence[Path], workers: int) -> None:
        if workers < 1:
            raise UsageError(f"workers must be at least 1, not {workers}")
        if other := [path for path in paths if path.suffix != ".tar"]:
            raise UsageError(f"webdataset's loader reads tars; {other[0]} is none (pairmill reshard makes them of MDS)")
        _check_webdataset()
        self._paths = list(paths)
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pairmill.transforms.loader_worker"]
        self._workers = [
            subprocess.Popen(
                [*command, *map(str, _share(paths, number, workers))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=env,
            )
            for number in range(workers)
        ]

    def __enter__(self) -> Loaders:
        try:
            for worker in self._workers:
                self._answer(worker)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def read(self, reading: Reading) -> Read:
        """Let all read at once, and add up what they read."""
        if reading.cold:
            drop_cache(self._paths)
        asked = json.dumps(asdict(reading))
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{asked}\n")
            worker.stdin.flush()
        counts = [json.loads(self._answer(worker)) for worker in self._workers]
        samples, size, seconds, processor_s, queued_s = zip(*counts, strict=True)
        return Read(sum(samples), sum(size), max(seconds), sum(processor_s), sum(queued_s), len(counts))

    def _answer(self, worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            raise PairmillError(f"a loader process failed with {worker.wait()}; see what it printed above")
        return line

    def _end(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.communicate()


def _share(paths: Sequence[Path], number: int, workers: int) -> list[Path]:
    """The shards of one worker; where there are fewer shards than workers, some read the same one."""
    mine = list(paths[number::workers])
    return mine or [paths[number % len(paths)]]


def _check_webdataset() -> None:
    from importlib.util import find_spec

    if find_spec("webdataset") is None or find_spec("PIL") is None:
        raise UsageError("reading as a trainer does needs webdataset and pillow: pip install webdataset pillow")
