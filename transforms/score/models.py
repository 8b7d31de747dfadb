"""The models of this process: each loaded once a device, and shared by all threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairmill.sharding.errors import PairmillError
from pairmill.transforms.score.device import Device, is_out_of_memory
from pairmill.transforms.score.scorer import Loaded, Measures, Scorer

_lock = threading.Lock()
_devices: dict[str, Device] = {}
_models: dict[tuple[str, str, str], Model] = {}  # by what the scorer's parameters are


@dataclass(eq=False)
class Model:
    """A loaded model, its device, and how large its batches may be: by kind of batch, less once memory ended."""

    scorer: Scorer
    loaded: Loaded
    device: Device
    _most: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, kind: str, work: Any, batch: Any, pad: bool = True) -> Measures:
        """``work(batch)`` on the device, in smaller batches of equal size where memory ends.

        ``batch`` is an array or a list; the last of the smaller ones is filled up with what cannot matter, unless
        ``pad`` is false. Raises PairmillError where there is no memory for a single item.
        """
        while True:
            most = self._most.get(kind, len(batch))
            try:
                with self.device.turn():
                    return _in_pieces(work, batch, most, pad)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                told = str(error).strip().partition("\n")[0]
            # Out of the handler: its traceback holds on to what fills the memory.
            self.device.free_memory()
            self._halve(kind, min(most, len(batch)), told)

    def _halve(self, kind: str, failed: int, told: str) -> None:
        if failed <= 1:
            raise PairmillError(
                f"scorer {self.scorer.kind}: no memory on {self.device.name} for even one item ({told}); let fewer "
                "models or processes share it, or take a smaller model"
            )
        with self._lock:
            self._most[kind] = min(self._most.get(kind, failed), failed // 2)


def get_model(scorer: Scorer, device: str, precision: str) -> Model:
    """The model of a scorer, loaded when first asked for. Raises ValueError as ``Scorer.load`` does."""
    name = device if scorer.on_device and scorer.embedder is None else "cpu"
    with _lock:
        if name not in _devices:
            _devices[name] = Device(name)
        key = (f"{type(scorer).__module__}.{scorer!r}", name, precision)
        if key not in _models:
            _models[key] = Model(scorer, scorer.load(name, precision), _devices[name])
        return _models[key]


def forget_models() -> None:
    """Drop every loaded model, so that its memory is free once nothing uses it."""
    with _lock:
        _models.clear()
        for device in _devices.values():
            device.free_memory()


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


def padded(batch: Any, size: int) -> Any:
    """An array filled up with zeros, or a list with its first item, to ``size`` items."""
    missing = size - len(batch)
    if not missing:
        return batch
    if isinstance(batch, np.ndarray):
        return np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)])
    items: Sequence[Any] = batch
    return [*items, *([items[0]] * missing)]
