"""One pass over the distinct texts of some rows: tokenised, cut to few lengths, and run in batches of one size."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pairmill.transforms.score.measured_items import MeasuredItems
from pairmill.transforms.score.models import Model, padded
from pairmill.transforms.score.scorer import LoadedDualEncoder, LoadedTextScorer
from pairmill.transforms.score.tasks import Tasks
from pairmill.transforms.score.timing import Stopwatch

#: Texts that a thread tokenises in one go.
_TOGETHER = 256


class TextPass:
    """Texts by a scorer of texts alone. ``results``: an item a text."""

    def __init__(self, model: Model, texts: Sequence[str], batch_size: int, stopwatch: Stopwatch) -> None:
        self.results = MeasuredItems(len(texts))
        self._model = model
        self._texts = texts
        self._batch_size = batch_size
        self._stopwatch = stopwatch

    def submit(self, tasks: Tasks) -> None:
        """Give everything to ``tasks``."""
        for start in range(0, len(self._texts), self._batch_size):
            tasks.submit(lambda start=start: self._score(start))  # type: ignore[misc]

    def _score(self, start: int) -> None:
        loaded = self._model.loaded
        assert isinstance(loaded, LoadedTextScorer)
        some = self._texts[start : start + self._batch_size]
        batch = padded(some, self._batch_size) if loaded.fixed_batches else some
        with self._stopwatch.phase("forward"):
            measures, busy_s = self._model.run("score", batch, pad=loaded.fixed_batches)
        self._stopwatch.add_busy(busy_s)
        values = {name: values[: len(some)] for name, values in measures.items()}
        self.results.put(np.arange(start, start + len(some)), values)


class EncoderTextPass:
    """Texts by the text tower of a CLIP. ``results``: an item a text; ``cut``: tokens that were cut off of each."""

    def __init__(self, model: Model, texts: Sequence[str], batch_size: int, stopwatch: Stopwatch) -> None:
        assert isinstance(model.loaded, LoadedDualEncoder)
        self.results = MeasuredItems(len(texts))
        self.cut: npt.NDArray[np.int64] = np.zeros(len(texts), np.int64)
        self._model = model
        self._loaded: LoadedDualEncoder = model.loaded
        self._texts = texts
        self._batch_size = batch_size
        self._stopwatch = stopwatch
        self._ids: dict[int, npt.NDArray[np.int64]] = {}
        self._lock = threading.Lock()
        self._left = len(texts)

    def submit(self, tasks: Tasks) -> None:
        """Give everything to ``tasks``."""
        for start in range(0, len(self._texts), _TOGETHER):
            tasks.submit(lambda start=start: self._tokenise(tasks, start))  # type: ignore[misc]

    def _tokenise(self, tasks: Tasks, start: int) -> None:
        some = self._texts[start : start + _TOGETHER]
        with self._stopwatch.phase("preprocess"):
            ids, cut = self._loaded.tokenise(some)
        with self._lock:
            self._ids[start] = ids
            self.cut[start : start + len(some)] = cut
            self._left -= len(some)
            last = not self._left
        if last:
            self._submit_batches(tasks, np.concatenate([self._ids[key] for key in sorted(self._ids)]))
            self._ids.clear()

    def _submit_batches(self, tasks: Tasks, ids: npt.NDArray[np.int64]) -> None:
        lengths = self._loaded.padded_lengths(ids)
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            for start in range(0, len(places), self._batch_size):
                some = places[start : start + self._batch_size]
                batch = ids[some, :length]
                tasks.submit(lambda some=some, batch=batch: self._forward(some, batch))  # type: ignore[misc]

    def _forward(self, places: npt.NDArray[np.int64], batch: npt.NDArray[np.int64]) -> None:
        # Filled up with copies of a text: a row of zeros is none.
        batch = batch[np.minimum(np.arange(self._batch_size), len(batch) - 1)]
        with self._stopwatch.phase("forward"):
            measures, busy_s = self._model.run("forward_texts", batch)
        self._stopwatch.add_busy(busy_s)
        self.results.put(places, {name: values[: len(places)] for name, values in measures.items()})
