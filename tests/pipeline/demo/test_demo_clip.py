"""The CLIP of the demo recipe, at the recipe's own threshold: what it catches and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pairmill.filters.score import Score
from pairmill.pipeline.demo.faults import BY_SIMILARITY, GOOD
from pairmill.pipeline.demo.forms import picture_file
from pairmill.pipeline.demo.misstated import POINTS
from pairmill.pipeline.demo.pool_rows import Pool
from pairmill.pipeline.recipe import Recipe, load_recipe
from pairmill.pipeline.recipe_file import find_recipe
from pairmill.transforms.image.store import ImageFailure, store_image
from pairmill.transforms.score.engine import measure_rows
from pairmill.transforms.score.settings import InferenceSettings

#: No pool that anything was trained on, and none that the demo draws.
SEED = 20_304
PARTLY_WRONG = tuple(f"wrong_{point}" for point in POINTS)
KINDS = {GOOD: 500, "mismatched": 120, "boilerplate": 30, **dict.fromkeys(PARTLY_WRONG, 40)}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return load_recipe(find_recipe("demo"), pool=str(tmp_path_factory.mktemp("pool")))


@pytest.fixture(scope="module")
def similarity(recipe: Recipe) -> dict[str, np.ndarray]:
    """The scores of rows of each kind, of pictures as the spool would hold them."""
    left, rows, stored = dict(KINDS), [], bytearray()
    for pair in Pool(100_000, SEED).pairs(0, 12_000):
        if left.get(pair.planted, 0) and pair.caption is not None and pair.language == "en":
            left[pair.planted] -= 1
            image = store_image(picture_file(SEED, pair.form, pair.number), recipe.image)
            assert not isinstance(image, ImageFailure)
            rows.append((pair.planted, pair.caption, len(stored), len(image.data)))
            stored += image.data
    assert not any(left.values())
    schema = {"planted": pl.String, "caption": pl.String, "spool_offset": pl.Int64, "stored_bytes": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        row_id=pl.int_range(pl.len(), dtype=pl.UInt64), spool=pl.lit("memory")
    )
    (scorer,) = [item.scorer for item in recipe.scorers]
    measured = measure_rows(
        {"clip": scorer}, frame, lambda spool, offset, size: bytes(stored[offset : offset + size]), InferenceSettings()
    )
    scores = measured.frames["clip"]["clip_similarity"]
    assert scores.null_count() == 0
    return {kind: scores.filter(frame["planted"] == kind).to_numpy() for kind in KINDS}


def threshold(recipe: Recipe) -> float:
    (rule,) = [rule for rule in recipe.rules if isinstance(rule, Score)]
    assert rule.at_least is not None
    return rule.at_least


@pytest.mark.slow
def test_mismatched_captions_are_removed_at_little_cost(recipe: Recipe, similarity: dict[str, np.ndarray]) -> None:
    cut = threshold(recipe)
    removed = {kind: float((scores < cut).mean()) for kind, scores in similarity.items()}
    assert removed["mismatched"] >= 0.95
    assert removed[GOOD] <= 0.03
    assert removed["boilerplate"] >= 0.95
    assert min(removed[kind] for kind in PARTLY_WRONG) >= 0.9
    assert set(KINDS) - {GOOD} == set(BY_SIMILARITY)


def test_the_recipe_names_the_model_by_what_it_is(recipe: Recipe) -> None:
    (rule,) = [rule for rule in recipe.rules if isinstance(rule, Score)]
    identity = recipe.scorers[0].scorer.identity()
    assert rule.model.startswith("sha256:")
    assert identity["sha256"].startswith(rule.model.removeprefix("sha256:"))
    assert Path(recipe.scorers[0].scorer.model).parts[-3:] == ("demo", "trained", "clip")  # type: ignore[attr-defined]
