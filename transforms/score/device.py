"""The device that models run on: chosen, checked, and taken by one batch at a time."""

from __future__ import annotations

import gc
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from pairmill.transforms.score.settings import InferenceSettings

#: Batches that are on a GPU together: while one computes, the next is copied there, each in a stream of its own.
TURNS = 2
#: What PyTorch says where an allocation on the CPU fails; on a GPU it raises a class of its own.
_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "alloc_failed")


def import_torch() -> Any:
    """The module ``torch``; raises ValueError with one line where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        raise ValueError("models need the package torch; pip install 'pairmill[models]'") from None
    return torch


def resolve_device(settings: InferenceSettings) -> str:
    """``cpu`` or ``cuda:N``. Raises ValueError with one line where the device asked for is not there."""
    if settings.device == "cpu":
        return "cpu"
    torch = import_torch()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if settings.device == "auto" and not count:
        if settings.precision == "fp16":
            raise ValueError("inference: precision fp16 needs a CUDA device, and there is none; give fp32 or bf16")
        return "cpu"
    number = int(settings.device.partition(":")[2] or 0)
    if not count:
        raise ValueError(f"inference: device {settings.device} was asked for, and torch sees no CUDA device here")
    if number >= count:
        raise ValueError(f"inference: device {settings.device} is not there; this machine has {count}, from cuda:0 on")
    return f"cuda:{number}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ended, that of a GPU or of the machine."""
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ == "OutOfMemoryError":  # torch.cuda's and torch's, without importing torch
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


class Device:
    """One device of this process. ``turn`` is what a thread holds while it runs a model there.

    On the CPU any number of threads work at a time, each with one core: how a thread splits its sums then does not
    depend on how many threads there are, and neither do the numbers. On a GPU ``TURNS`` threads do, each in a CUDA
    stream of its own, so that one batch is copied while another computes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._streams: queue.SimpleQueue[Any] | None = None
        self._busy = _BusyTime()
        if name != "cpu":
            torch = import_torch()
            self._streams = queue.SimpleQueue()
            for _ in range(TURNS):
                self._streams.put(torch.cuda.Stream(device=name))

    @property
    def pins(self) -> bool:
        """Whether batches go there by way of pinned memory."""
        return self.name != "cpu"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a turn. What was started on the GPU within it is finished when it ends."""
        if self._streams is None:
            single_threaded()
            yield
            return
        torch = import_torch()
        stream = self._streams.get()
        try:
            with self._busy, torch.cuda.device(self.name), torch.cuda.stream(stream):
                yield
                stream.synchronize()
        finally:
            self._streams.put(stream)

    def take_busy_s(self) -> float:
        """Seconds in which at least one thread held a turn on the GPU, since this was last asked; 0 on the CPU."""
        return self._busy.take()

    def free_memory(self) -> None:
        """Give back what the allocator caches."""
        gc.collect()
        if self.name != "cpu":
            import_torch().cuda.empty_cache()


def single_threaded() -> None:
    """Let torch, where it is in use, take one thread for each operation that the calling thread starts."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def pinned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of zeros in memory that a GPU copies from by itself."""
    torch = import_torch()
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array: npt.NDArray[Any] = torch.zeros(size, dtype=torch.uint8, pin_memory=True).numpy().view(dtype).reshape(shape)
    return array


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


class _BusyTime:
    """Adds up the time in which at least one thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._since = 0.0
        self._seconds = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._count()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count()
            self._inside -= 1

    def take(self) -> float:
        """The seconds that were not taken yet."""
        with self._lock:
            self._count()
            seconds, self._seconds = self._seconds, 0.0
            return seconds

    def _count(self) -> None:
        now = perf_counter()
        if self._inside:
            self._seconds += now - self._since
        self._since = now
