"""The device is the one that was asked for; on a GPU few batches are at a time, each finished when its turn ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pairmill.transforms.score import device as device_module
from pairmill.transforms.score.device import TURNS, Device, is_out_of_memory, resolve_device
from pairmill.transforms.score.settings import InferenceSettings


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says how many GPUs torch sees."""
    import torch

    def see(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return see


def test_a_device_that_is_not_there_is_an_error(gpus: Any) -> None:
    gpus(0)
    assert resolve_device(InferenceSettings()) == "cpu"
    assert resolve_device(InferenceSettings(device="cpu")) == "cpu"
    for name in ("cuda", "cuda:0"):
        with pytest.raises(ValueError, match=f"device {name} was asked for, and torch sees no CUDA device"):
            resolve_device(InferenceSettings(device=name))
    with pytest.raises(ValueError, match="fp16 needs a CUDA device, and there is none"):
        resolve_device(InferenceSettings(precision="fp16"))


def test_gpus_are_counted_from_0(gpus: Any) -> None:
    gpus(2)
    assert resolve_device(InferenceSettings()) == "cuda:0"
    assert resolve_device(InferenceSettings(device="cuda:1")) == "cuda:1"
    assert resolve_device(InferenceSettings(device="cpu")) == "cpu"
    with pytest.raises(ValueError, match=r"device cuda:2 is not there; this machine has 2, from cuda:0 on"):
        resolve_device(InferenceSettings(device="cuda:2"))


def test_without_torch_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"pip install 'pairmill\[models\]'"):
        resolve_device(InferenceSettings())


def test_the_end_of_memory_is_known_by_its_words() -> None:
    import torch

    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)
    assert is_out_of_memory(raised.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))


class Streams:
    """Stands for ``torch.cuda``: counts who is on the GPU."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.on = self.most = self.synchronised = 0
        self.cuda = SimpleNamespace(Stream=self.make, device=self.nothing, stream=self.use, empty_cache=lambda: None)

    def make(self, device: str) -> Any:
        return self

    def synchronize(self) -> None:
        self.synchronised += 1

    @contextmanager
    def nothing(self, device: str) -> Iterator[None]:
        yield

    @contextmanager
    def use(self, stream: Any) -> Iterator[None]:
        with self.lock:
            self.on += 1
            self.most = max(self.most, self.on)
        try:
            yield
        finally:
            with self.lock:
                self.on -= 1


def test_a_gpu_is_used_by_few_threads_at_a_time_and_all_get_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams()
    monkeypatch.setattr(device_module, "import_torch", lambda: streams)
    gpu = Device("cuda:0")
    done: list[int] = []

    def work(number: int) -> None:
        try:
            with gpu.turn():
                time.sleep(0.002)
                if number % 3 == 0:
                    raise RuntimeError("a batch failed")
        except RuntimeError:
            pass
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 24
    assert streams.most == TURNS
    assert streams.synchronised == 16
    assert gpu.take_busy_s() > 0.008
    assert gpu.take_busy_s() == 0
    assert gpu.pins


def test_on_the_cpu_each_thread_computes_with_one_core() -> None:
    import torch

    seen: list[int] = []
    cpu = Device("cpu")

    def work() -> None:
        torch.set_num_threads(2)
        with cpu.turn():
            seen.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    torch.set_num_threads(1)
    assert seen == [1]
    assert not cpu.pins
    assert cpu.take_busy_s() == 0
