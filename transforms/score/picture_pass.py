"""One pass over the distinct pictures of some rows: each decoded once, for every scorer that looks at it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pairmill.transforms.score.device import pinned_zeros
from pairmill.transforms.score.measured_items import MeasuredItems
from pairmill.transforms.score.models import Model, padded
from pairmill.transforms.score.scorer import DECODE_FAILED, PREPARE_FAILED, LoadedImageScorer
from pairmill.transforms.score.stored_image import decode_stored
from pairmill.transforms.score.tasks import Tasks
from pairmill.transforms.score.timing import Stopwatch

#: Pictures that a thread decodes in one go: a large batch for a GPU is made by several threads.
_TOGETHER = 16

Place = tuple[str, int, int]
#: The stored bytes at (spool, offset, size).
ReadImage = Callable[[str, int, int], bytes]


@dataclass(frozen=True)
class PairTexts:
    """Pairs of pictures with texts: the text of each pair, and the numbers of the pairs that each picture is in."""

    texts: Sequence[str]
    of_picture: Mapping[int, Sequence[int]]


class PicturePass:
    """Pictures in batches of one size, in their order; the last is filled up with black.

    ``results``, by scorer: an item a picture, or an item a pair for the scorers in ``pairs``. ``failures``: of each
    picture, why it has no pixels.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        places: Sequence[Place],
        pairs: Mapping[str, PairTexts],
        read_image: ReadImage,
        batch_size: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.models = models
        self.places = places
        self.pairs = pairs
        self.read_image = read_image
        self.batch_size = batch_size
        self.stopwatch = stopwatch
        self.failures: list[str | None] = [None] * len(places)
        self.results = {
            name: MeasuredItems(len(pairs[name].texts) if name in pairs else len(places)) for name in models
        }

    def submit(self, tasks: Tasks) -> None:
        """Give everything to ``tasks``."""
        for first in range(0, len(self.places), self.batch_size):
            batch = _Batch(self, first, min(first + self.batch_size, len(self.places)))
            for start in range(first, batch.stop, _TOGETHER):
                tasks.submit(lambda batch=batch, start=start: batch.decode(start))  # type: ignore[misc]

    def picture(self, number: int) -> Image.Image | None:
        """The pixels of one picture; None, and the reason noted, where it does not decode."""
        body = self.read_image(*self.places[number])
        try:
            return decode_stored(body)
        except Exception:  # Pillow's decoders raise nearly every class there is on damaged files
            self.failures[number] = DECODE_FAILED
            return None


class _Batch:
    """The pictures ``first`` to ``stop``: decoded by several threads, scored by the one that is done last."""

    def __init__(self, whole: PicturePass, first: int, stop: int) -> None:
        self.stop = stop
        self._whole = whole
        self._first = first
        self._lock = threading.Lock()
        self._left = stop - first
        #: By scorer, what ``prepare`` gave for each picture that is good, by its place in the batch.
        self._items: dict[str, dict[int, Any]] = {name: {} for name in whole.models}
        #: By scorer, the same stacked, where it takes arrays.
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def decode(self, start: int) -> None:
        """Decode and prepare some pictures from ``start`` on; then score the batch, if they were the last."""
        whole, stop = self._whole, min(start + _TOGETHER, self.stop)
        for number in range(start, stop):
            with whole.stopwatch.phase("decode"):
                image = whole.picture(number)
            if image is not None:
                with whole.stopwatch.phase("preprocess"):
                    for name, model in whole.models.items():
                        self._prepare(name, model, number, image)
        with self._lock:
            self._left -= stop - start
            last = not self._left
        if last:
            for name in whole.models:
                if self._items[name]:
                    with whole.stopwatch.phase("forward"):
                        self._score(name)
            self._items.clear()
            self._arrays.clear()

    def _prepare(self, name: str, model: Model, number: int, image: Image.Image) -> None:
        loaded = model.loaded
        assert isinstance(loaded, LoadedImageScorer)
        try:
            item = loaded.prepare(image)
        except ValueError:
            pairs = self._whole.pairs.get(name)
            self._whole.results[name].fail(pairs.of_picture.get(number, ()) if pairs else [number], PREPARE_FAILED)
            return
        place = number - self._first
        if loaded.input_shape is not None:
            self._array(name, loaded, model)[place] = item
            item = None
        self._items[name][place] = item

    def _array(self, name: str, loaded: LoadedImageScorer, model: Model) -> npt.NDArray[Any]:
        with self._lock:
            if name not in self._arrays:
                assert loaded.input_shape is not None
                shape = (self._whole.batch_size, *loaded.input_shape)
                zeros = pinned_zeros if model.pins else np.zeros
                self._arrays[name] = zeros(shape, loaded.input_dtype)
            return self._arrays[name]

    def _score(self, name: str) -> None:
        whole, model, good = self._whole, self._whole.models[name], self._items[name]
        if name in whole.pairs:
            self._score_pairs(name, model)
            return
        places = np.array(sorted(good), np.int64)
        batch: Any = self._arrays.get(name)
        if batch is None:
            any_item = good[int(places[0])]
            batch = [good.get(place, any_item) for place in range(whole.batch_size)]
        measures, busy_s = model.run("forward", batch)
        whole.stopwatch.add_busy(busy_s)
        whole.results[name].put(places + self._first, {key: values[places] for key, values in measures.items()})

    def _score_pairs(self, name: str, model: Model) -> None:
        whole, good, pairs = self._whole, self._items[name], self._whole.pairs[name]
        numbers = [(place, pair) for place in sorted(good) for pair in pairs.of_picture.get(place + self._first, ())]
        for start in range(0, len(numbers), whole.batch_size):
            some = numbers[start : start + whole.batch_size]
            batch = padded([(good[place], pairs.texts[pair]) for place, pair in some], whole.batch_size)
            measures, busy_s = model.run("forward", batch)
            whole.stopwatch.add_busy(busy_s)
            places = np.array([pair for _, pair in some], np.int64)
            whole.results[name].put(places, {key: values[: len(some)] for key, values in measures.items()})
