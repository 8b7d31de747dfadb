"""Our scorers in somebody's own Beam pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.util import assert_that

from pairmill.transforms.score.clip_scorer import ClipScorer
from pairmill.transforms.score.engine import measure_rows
from pairmill.transforms.score.model_handler import ScorerHandler
from pairmill.transforms.score.settings import InferenceSettings

CPU = InferenceSettings(device="cpu", threads=1)


def test_runinference_gives_what_measure_rows_gives(tiny_clip: Path, spool: Any) -> None:
    rows = spool.many(24)
    scorers = {"clip": ClipScorer(model=str(tiny_clip))}
    expected = measure_rows(scorers, rows, spool.read, CPU).frames["clip"]
    places = rows.select("spool", "spool_offset", "stored_bytes").rows()
    pairs = [
        {"image": spool.read(*place), "caption": caption, "number": number}
        for number, (place, caption) in enumerate(zip(places, rows["caption"], strict=True))
    ]

    def check(predictions: list[Any]) -> None:
        assert len(predictions) == 24
        for prediction in predictions:
            score = prediction.inference["clip_similarity"]
            assert score == pytest.approx(expected["clip_similarity"][prediction.example["number"]], abs=1e-6)

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        predictions = pipeline | beam.Create(pairs) | RunInference(ScorerHandler(scorers, CPU))
        assert_that(predictions, check)


def test_bad_pairs_have_outcomes(tiny_clip: Path, spool: Any) -> None:
    handler = ScorerHandler({"clip": ClipScorer(model=str(tiny_clip))}, CPU)
    batch = [{"image": b"broken", "caption": "a"}, {"caption": "a"}, {"image": spool.picture(1), "caption": None}]
    told = [prediction.inference for prediction in handler.run_inference(batch, handler.load_model())]
    assert [inference["clip_outcome"] for inference in told] == ["decode_failed", "no_image", "no_text"]
    assert handler.get_num_bytes(batch) == 6 + len(spool.picture(1))
