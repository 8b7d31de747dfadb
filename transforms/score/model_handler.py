"""Our scorers as a Beam ``ModelHandler``, for pipelines of your own: ``RunInference(ScorerHandler(...))``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from pairmill.transforms.score.engine import device_of, measure_rows
from pairmill.transforms.score.models import Model, get_model
from pairmill.transforms.score.scorer import Scorer, check_scorers
from pairmill.transforms.score.settings import InferenceSettings

#: The key of a pair's encoded image; its other keys are text columns.
IMAGE = "image"

Pair = Mapping[str, Any]


class LoadedScorers(dict[str, Model]):
    """The models by the scorers' names; a dict that Beam can refer to weakly."""


class ScorerHandler(ModelHandler[Pair, PredictionResult, LoadedScorers]):
    """Scores pairs: mappings with ``image`` (bytes of a JPEG, PNG or WebP) and texts by the names of text columns.

    A prediction's ``inference`` is a dict of the columns of all ``scorers``, as ``measure_rows`` gives them. Batches
    are of one size within it, whatever Beam hands over; let Beam make large ones. pairmill's own pipeline does not go
    this way: there no image passes through Beam.
    """

    def __init__(self, scorers: Mapping[str, Scorer], settings: InferenceSettings | None = None, max_batch: int = 1024):
        super().__init__(min_batch_size=1, max_batch_size=max_batch)
        check_scorers(scorers)
        self._scorers = dict(scorers)
        self._settings = settings or InferenceSettings()

    def load_model(self) -> LoadedScorers:
        """Load the models; those of one process are shared. Raises ValueError where a model or the device is wrong."""
        device = device_of(self._scorers, self._settings)
        precision = self._settings.precision
        return LoadedScorers({name: get_model(scorer, device, precision) for name, scorer in self._scorers.items()})

    def run_inference(
        self, batch: Sequence[Pair], model: LoadedScorers, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """One prediction a pair, in order."""
        texts = {name for scorer in self._scorers.values() for name in scorer.text_columns()}
        images = [pair.get(IMAGE) for pair in batch]
        rows = pl.DataFrame(
            {
                "row_id": pl.Series(range(len(batch)), dtype=pl.UInt64),
                "spool": pl.Series([None if image is None else "" for image in images], dtype=pl.String),
                "spool_offset": pl.Series(range(len(batch)), dtype=pl.Int64),
                "stored_bytes": pl.Series([len(image or b"") for image in images], dtype=pl.Int64),
                **{name: pl.Series([pair.get(name) for pair in batch], dtype=pl.String) for name in sorted(texts)},
            }
        )
        measured = measure_rows(self._scorers, rows, lambda _, number, __: images[number] or b"", self._settings)
        columns = pl.concat([frame.drop("row_id") for frame in measured.frames.values()], how="horizontal")
        for pair, inference in zip(batch, columns.to_dicts(), strict=True):
            yield PredictionResult(pair, inference)

    def get_num_bytes(self, batch: Sequence[Pair]) -> int:
        """The bytes of the images; Beam's own way pickles the batch."""
        return sum(len(pair.get(IMAGE) or b"") for pair in batch)

    def get_metrics_namespace(self) -> str:
        """What Beam counts inferences under."""
        return "pairmill_score"
