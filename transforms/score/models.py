"""The models of this process: each loaded once a device, and shared by all threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pairmill.sharding.errors import PairmillError
from pairmill.transforms.score.device import Device, is_out_of_memory
from pairmill.transforms.score.scorer import Loaded, Measures, Scorer


class Model(Protocol):
    """A model that batches are run through, in this process or in another one."""

    #: With ``prepare`` and ``tokenise``; its other methods are called by ``run`` alone.
    scorer: Scorer
    loaded: Loaded

    @property
    def pins(self) -> bool:
        """Whether batches should lie in pinned memory."""
        ...

    def run(self, method: str, batch: Any, pad: bool = True) -> tuple[Measures, float]:
        """What ``loaded.method(batch)`` gives, in smaller batches of one size where memory ends.

        ``batch`` is an array or a list; the last of the smaller ones is filled up with what cannot matter, unless
        ``pad`` is false. Also the seconds in which the GPU was busy and that no other run has been told; 0 on the CPU.
        Raises PairmillError where there is no memory for a single item.
        """
        ...


@dataclass(eq=False)
class LocalModel:
    """A model of this process, and how large its batches may be: by kind of batch, less once memory ended."""

    scorer: Scorer
    loaded: Loaded
    device: Device
    _most: dict[tuple[Any, ...], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pins(self) -> bool:
        """Whether batches should lie in pinned memory."""
        return self.device.pins

    def run(self, method: str, batch: Any, pad: bool = True) -> tuple[Measures, float]:
        """As ``Model`` says."""
        work = getattr(self.loaded, method)
        kind = (method, *batch.shape[1:]) if isinstance(batch, np.ndarray) else (method,)
        while True:
            most = self._most.get(kind, len(batch))
            try:
                with self.device.turn():
                    measures = _in_pieces(work, batch, most, pad)
                return measures, self.device.take_busy_s()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                told = str(error).strip().partition("\n")[0]
            # Out of the handler: its traceback holds on to what fills the memory.
            self.device.free_memory()
            self._halve(kind, min(most, len(batch)), told)

    def _halve(self, kind: tuple[Any, ...], failed: int, told: str) -> None:
        if failed <= 1:
            raise PairmillError(
                f"scorer {self.scorer.kind}: no memory on {self.device.name} for even one item ({told}); let fewer "
                "models or processes share it, or take a smaller model"
            )
        with self._lock:
            self._most[kind] = min(self._most.get(kind, failed), failed // 2)


_lock = threading.Lock()
_devices: dict[str, Device] = {}
_models: dict[tuple[str, str, str], LocalModel] = {}  # by what the scorer's parameters are


def get_model(scorer: Scorer, device: str, precision: str) -> LocalModel:
    """The model of a scorer, loaded when first asked for. Raises ValueError as ``Scorer.load`` does."""
    name = device if scorer.on_device and scorer.embedder is None else "cpu"
    with _lock:
        if name not in _devices:
            _devices[name] = Device(name)
        key = model_key(scorer, name, precision)
        if key not in _models:
            _models[key] = LocalModel(scorer, scorer.load(name, precision), _devices[name])
        return _models[key]


def model_key(scorer: Scorer, device: str, precision: str) -> tuple[str, str, str]:
    """What tells one model of a process from another: scorers of equal parameters share theirs."""
    return f"{type(scorer).__module__}.{scorer!r}", device, precision


def forget_models() -> None:
    """Drop every loaded model, so that its memory is free once nothing uses it."""
    with _lock:
        _models.clear()
        for device in _devices.values():
            if device.pins:
                device.free_memory()


def padded(batch: Any, size: int) -> Any:
    """An array filled up with zeros, or a list with its first item, to ``size`` items."""
    missing = size - len(batch)
    if not missing:
        return batch
    if isinstance(batch, np.ndarray):
        return np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)])
    items: Sequence[Any] = batch
    return [*items, *([items[0]] * missing)]


def _in_pieces(work: Any, batch: Any, most: int, pad: bool) -> Measures:
    if len(batch) <= most:
        measures: Measures = work(batch)
        return measures
    found: list[Measures] = []
    for start in range(0, len(batch), most):
        piece = batch[start : start + most]
        here = len(piece)
        measures = work(padded(piece, most) if pad else piece)
        found.append({name: values[:here] for name, values in measures.items()})
    return {name: np.concatenate([measures[name] for measures in found]) for name in found[0]}
