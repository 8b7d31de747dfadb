"""What a model made of some items (pictures, texts or pairs), put together from batches that end in any order."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pairmill.transforms.score.scorer import NOT_FINITE, Measures


class MeasuredItems:
    """Values by measure, an entry an item; why an item has none; which items have them."""

    def __init__(self, count: int) -> None:
        self.values: Measures = {}
        self.outcomes: list[str | None] = [None] * count
        self.measured: npt.NDArray[np.bool_] = np.zeros(count, np.bool_)
        self._lock = threading.Lock()

    def put(self, items: npt.NDArray[np.int64], measures: Measures) -> None:
        """Keep the measures of some items. One with a NaN or an infinity among them is not measured."""
        finite = np.ones(len(items), np.bool_)
        for values in measures.values():
            if values.dtype.kind == "f":
                finite &= np.isfinite(values).reshape(len(items), -1).all(axis=1)
        with self._lock:
            for name, values in measures.items():
                if name not in self.values:
                    self.values[name] = np.zeros((len(self.outcomes), *values.shape[1:]), values.dtype)
                self.values[name][items[finite]] = values[finite]
            self.measured[items[finite]] = True
        self.fail(items[~finite].tolist(), NOT_FINITE)

    def fail(self, items: Sequence[int], outcome: str) -> None:
        """Note why some items have no values."""
        for item in items:
            self.outcomes[item] = outcome
