"""Builds with scorers: what is measured, when and how often. The scorers are tiny, all else is real."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairmill.pipeline import recipe_scorers
from pairmill.pipeline.space import check_space
from pairmill.sharding.embeddings import map_embeddings, read_descriptions
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import read_manifest
from pairmill.sharding.stats_cli import main as shard_stats
from pairmill.sharding.step_store import StepStore
from pairmill.transforms import bucket_order, score_step
from pairmill.transforms.score import models
from pairmill.transforms.score.head import HeadScorer
from pairmill.transforms.score.scorer import LoadedDualEncoder, LoadedImageScorer, LoadedTextScorer, Measures, Scorer

#: What the models below were asked: (model, items that were not padding). Emptied before each test.
CALLS: list[tuple[str, int]] = []


@dataclass(frozen=True, kw_only=True)
class Brightness(Scorer):
    """``<name>_value``: the mean of a picture, 0 to 1."""

    kind: ClassVar[str] = "brightness"
    source: ClassVar[str] = "these tests"
    reads: ClassVar[Literal["image", "text"]] = "image"

    model: str = "mean"
    nan_above: float = 9.0

    def columns(self, name: str) -> dict[str, pl.DataType]:
        return {f"{name}_value": pl.Float32(), f"{name}_outcome": pl.String()}

    def identity(self) -> dict[str, Any]:
        if self.model.startswith("/"):
            raise ValueError(f"model folder {self.model}: there is no such folder")
        return {"model": self.model, "nan_above": self.nan_above, "scale": "probability"}

    def load(self, device: str, precision: str) -> LoadedImageScorer:
        CALLS.append((f"load {self.model}", 0))
        return _Brightness(self)


class _Brightness(LoadedImageScorer):
    input_shape = (4, 4, 3)

    def __init__(self, settings: Brightness) -> None:
        self.settings = settings

    def prepare(self, image: Image.Image) -> Any:
        return np.asarray(image.resize((4, 4), Image.Resampling.BOX))

    def forward(self, batch: Any) -> Measures:
        CALLS.append((self.settings.model, int(batch.reshape(len(batch), -1).any(axis=1).sum())))
        value = (batch.reshape(len(batch), -1).mean(axis=1) / 255).astype(np.float32)
        value[value > self.settings.nan_above] = np.nan
        return {"value": value}


@dataclass(frozen=True, kw_only=True)
class Length(Scorer):
    """``<name>_value``: the characters of a text."""

    kind: ClassVar[str] = "length"
    source: ClassVar[str] = "these tests"
    reads: ClassVar[Literal["image", "text"]] = "text"

    text: str = "caption"

    def columns(self, name: str) -> dict[str, pl.DataType]:
        return {f"{name}_value": pl.Float32(), f"{name}_outcome": pl.String()}

    def identity(self) -> dict[str, Any]:
        return {"text": self.text}

    def text_columns(self) -> tuple[str, ...]:
        return (self.text,)

    def load(self, device: str, precision: str) -> LoadedTextScorer:
        return _Length()


class _Length(LoadedTextScorer):
    def score(self, texts: Sequence[str]) -> Measures:
        CALLS.append(("length", len(texts)))
        return {"value": np.array([len(text) for text in texts], dtype=np.float32)}


@dataclass(frozen=True, kw_only=True)
class Colours(Scorer):
    """``<name>_similarity`` of two vectors of three: the mean colour, and three numbers of the text."""

    kind: ClassVar[str] = "colours"
    source: ClassVar[str] = "these tests"
    reads: ClassVar[Literal["image", "text"]] = "image"

    def columns(self, name: str) -> dict[str, pl.DataType]:
        vectors = {f"{name}_image_embedding": pl.Binary(), f"{name}_text_embedding": pl.Binary()}
        told = {f"{name}_similarity": pl.Float32(), f"{name}_tokens_cut": pl.UInt16(), f"{name}_outcome": pl.String()}
        return told | vectors

    def identity(self) -> dict[str, Any]:
        return {"model": "colours", "sha256": "ab" * 32, "preprocessing": {"size": 4}, "scale": "cosine"}

    def text_columns(self) -> tuple[str, ...]:
        return ("caption",)

    def embedding_width(self) -> int:
        return 3

    def load(self, device: str, precision: str) -> LoadedDualEncoder:
        return _Colours()


class _Colours(LoadedDualEncoder):
    input_shape = (4, 4, 3)

    def prepare(self, image: Image.Image) -> Any:
        return np.asarray(image.resize((4, 4), Image.Resampling.BOX))

    def forward(self, batch: Any) -> Measures:
        CALLS.append(("colours", int(batch.reshape(len(batch), -1).any(axis=1).sum())))
        return {"image": batch.reshape(len(batch), -1, 3).mean(axis=1).astype(np.float32)}

    def tokenise(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        ids = np.array([[len(text), text.count("e") + 1, text.count("u") + 1] for text in texts], np.int64)
        return ids, np.array([max(0, len(text) - 20) for text in texts], np.int64)

    def padded_lengths(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.full(len(ids), 3)

    def forward_texts(self, ids: npt.NDArray[np.int64]) -> Measures:
        return {"text": ids.astype(np.float32)}


KINDS: dict[str, type[Scorer]] = {"brightness": Brightness, "length": Length, "colours": Colours, "head": HeadScorer}
BRIGHT: dict[str, Any] = {"bright": {"brightness": {}}}
SIZE = {"image_size": {"min_side": 32}}


def at_least(bound: float, column: str = "bright_value") -> list[dict[str, Any]]:
    return [SIZE, {"column_range": {"column": column, "at_least": bound}}]


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def kind(name: str) -> type[Scorer]:
        return KINDS[name]

    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(recipe_scorers, "SCORER_KINDS", tuple(KINDS))
    monkeypatch.setattr(recipe_scorers, "scorer_class", kind)
    CALLS.clear()
    yield
    models.forget_models()


def items(model: str = "mean") -> int:
    """How many pictures or texts a model was asked for."""
    return sum(count for name, count in CALLS if name == model)


def told(build: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((build / "ledger").glob("*.parquet"))])


def metadata(build: Path) -> pl.DataFrame:
    return pl.read_parquet(build / "dataset" / "metadata" / "*.parquet").sort("key")


@pytest.fixture
def scored(small_pool: Any, builds: Any, tmp_path: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A build with one scorer and no rule on it, its work folder and its report."""
    recipe = small_pool.recipe(tmp_path / "first.yaml", scorers=BRIGHT)
    report = builds.make(recipe, tmp_path / "first", tmp_path / "work", lanes=2)
    return tmp_path / "first", tmp_path / "work", report


def test_scores_are_columns_of_the_dataset_and_what_made_them_is_told(scored: Any) -> None:
    build, _, report = scored
    frame = metadata(build)
    assert frame["bright_value"].is_between(0.2, 0.8).all()
    assert frame["bright_outcome"].null_count() == frame.height == report["kept"]
    field = pq.read_schema(next((build / "dataset" / "metadata").glob("*.parquet"))).field("bright_value")
    assert field.metadata[b"pairmill.scorer"] == b"bright"
    assert field.metadata[b"pairmill.model"] == b"mean"
    assert field.metadata[b"pairmill.scale"] == b"probability"
    manifest = read_manifest(build / "dataset")
    assert manifest.record["bright_value"] == "float"
    assert manifest.scorers["bright"]["columns"] == ["bright_value", "bright_outcome"]
    assert (manifest.scorers["bright"]["model"], manifest.scorers["bright"]["precision"]) == ("mean", "fp32")
    assert "torch" in manifest.versions
    assert shard_stats([str(build / "dataset"), "--verify"]) == 0


def test_the_report_tells_of_the_step(scored: Any, small_pool: Any) -> None:
    _, _, report = scored
    alive = sum(reason in (None, "duplicate_sha256", "near_duplicate") for reason in small_pool.expected.values())
    assert [step["name"] for step in report["steps"]] == ["read", "rules", "fetch", "score", "duplicates"]
    step = report["steps"][3]
    assert (step["rows_in"], step["rows_out"]) == (alive, alive)
    told = report["score"]["images"]
    assert told["measured"] == alive
    assert told["scorers"] == {"bright": {"pairs": alive, "measured": alive, "outcomes": {}, "tokens_cut": 0}}
    assert told["pairs_per_second"] > 0
    assert sum(told["shares"].values()) == pytest.approx(1, abs=0.01)
    assert told["binds"] in told["shares"]


def test_only_living_rows_are_measured_each_once(scored: Any, small_pool: Any) -> None:
    # What is broken, too small or without a caption is not looked at; of equal images and copies each is.
    alive = [name for name, reason in small_pool.expected.items() if reason in (None, "duplicate_sha256", "near_dup")]
    assert items() == len(alive) + 1
    assert [name for name, _ in CALLS].count("load mean") == 1


def test_another_threshold_is_another_build_without_a_model(
    scored: Any, small_pool: Any, builds: Any, ledger: Any, tmp_path: Path
) -> None:
    build, work, _ = scored
    values = metadata(build)["bright_value"]
    bound = float(values.median())  # type: ignore[arg-type]
    recipe = small_pool.recipe(tmp_path / "cut.yaml", scorers=BRIGHT, rules=at_least(bound))
    CALLS.clear()
    report = builds.make(recipe, tmp_path / "cut", work)
    assert CALLS == []  # neither asked nor loaded
    assert report["score"]["images"]["measured"] == 0
    assert report["score"]["images"]["binds"] is None
    assert report["rejected"]["bright_value_too_low"] > 5
    assert (metadata(tmp_path / "cut")["bright_value"] >= np.float32(bound)).all()
    step = next(step for step in report["steps"] if step["name"] == "score")
    assert step["rows_in"] - step["rows_out"] == report["rejected"]["bright_value_too_low"]
    rows = told(tmp_path / "cut")
    assert set(rows.filter(reason="bright_value_too_low")["stage"]) == {"rules"}
    assert rows.height == report["kept"] + sum(report["rejected"].values())


def test_the_same_scorer_by_another_name_reads_the_same_columns(
    scored: Any, small_pool: Any, builds: Any, tmp_path: Path
) -> None:
    build, work, _ = scored
    CALLS.clear()
    recipe = small_pool.recipe(tmp_path / "o.yaml", scorers={"light": {"brightness": {}}})
    builds.make(recipe, tmp_path / "other", work)
    assert CALLS == []
    assert metadata(tmp_path / "other")["light_value"].equals(metadata(build)["bright_value"].rename("light_value"))
    recipe = small_pool.recipe(tmp_path / "p.yaml", scorers={"light": {"brightness": {"model": "another"}}})
    builds.make(recipe, tmp_path / "another", work)
    assert items("another") > 0
    assert len(list((work / "columns").glob("score-*"))) == 2


def test_a_looser_recipe_measures_what_is_missing(small_pool: Any, builds: Any, tree: Any, tmp_path: Path) -> None:
    work = tmp_path / "work"
    strict = small_pool.recipe(tmp_path / "s.yaml", scorers=BRIGHT, rules=[{"image_size": {"min_side": 75}}])
    loose = small_pool.recipe(tmp_path / "l.yaml", scorers=BRIGHT)
    builds.make(strict, tmp_path / "strict", work)
    before = items()
    report = builds.make(loose, tmp_path / "loose", work, lanes=3)
    assert report["score"]["images"]["scorers"]["bright"]["measured"] == items() - before == 1
    assert len(list(work.glob("columns/score-*/*/*.p1.parquet"))) == 1
    CALLS.clear()
    builds.make(strict, tmp_path / "again", work)
    assert CALLS == []
    assert tree(tmp_path / "again" / "dataset") == tree(tmp_path / "strict" / "dataset")
    builds.make(loose, tmp_path / "at-once", tmp_path / "new")
    assert tree(tmp_path / "at-once" / "dataset") == tree(tmp_path / "loose" / "dataset")
    assert tree(tmp_path / "at-once" / "ledger") == tree(tmp_path / "loose" / "ledger")


@pytest.mark.parametrize("lanes", [1, 3, 100])
def test_lanes_and_batches_change_no_byte(
    scored: Any, small_pool: Any, builds: Any, tree: Any, tmp_path: Path, lanes: int
) -> None:
    build, _, _ = scored
    recipe = small_pool.recipe(tmp_path / "first.yaml", scorers=BRIGHT)
    builds.make(recipe, tmp_path / "again", tmp_path / "new", lanes=lanes, inference__batch_size="3")
    assert tree(tmp_path / "again" / "dataset") == tree(build / "dataset")
    assert tree(tmp_path / "again" / "ledger") == tree(build / "ledger")


def test_every_step_done_twice_leaves_what_it_left_once(
    scored: Any, small_pool: Any, builds: Any, steps: Any, tree: Any, tmp_path: Path
) -> None:
    def twice(step: Callable[[], Any]) -> Any:
        result = step()
        first = tree(tmp_path / "b", tmp_path / "w")
        asked = len(CALLS)
        again = step()
        assert tree(tmp_path / "b", tmp_path / "w") == first, step
        assert repr(again) == repr(result)
        assert len(CALLS) == asked
        return again

    recipe = small_pool.recipe(
        tmp_path / "first.yaml", scorers=BRIGHT | {"long": {"length": {}}, "hue": {"colours": {}}}
    )
    builds.make(recipe, tmp_path / "b", tmp_path / "w", 2, lambda ready: steps(ready, twice))


class Killed(BaseException):
    """Like SIGKILL: no handler is to catch it."""


@pytest.mark.parametrize("logged", [False, True])
def test_what_a_killed_run_published_is_not_measured_again(
    scored: Any, small_pool: Any, builds: Any, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: bool
) -> None:
    first, _, _ = scored
    everything = items()
    CALLS.clear()
    recipe = small_pool.recipe(tmp_path / "first.yaml", scorers=BRIGHT)
    commit, left = StepStore.commit, iter(range(3))

    def killed(store: Any, *args: Any, **more: Any) -> Any:
        if store.step != "score":
            return commit(store, *args, **more)
        with monkeypatch.context() as patch:
            if not logged:  # published, and killed before the log was written
                patch.setattr(type(store.log), "append", lambda log, commits: None)
            commits = commit(store, *args, **more)
        if next(left, None) is None:
            raise Killed
        return commits

    with monkeypatch.context() as patch:
        patch.setattr(StepStore, "commit", killed)
        with pytest.raises(Killed):
            builds.make(recipe, tmp_path / "build", tmp_path / "new", lanes=2)
    assert 0 < items() < everything
    report = builds.make(recipe, tmp_path / "build", tmp_path / "new", lanes=2)
    assert items() == everything
    assert (
        report["score"]["images"]["scorers"]["bright"]["measured"]
        < report["score"]["images"]["scorers"]["bright"]["pairs"]
    )
    assert tree(tmp_path / "build" / "dataset") == tree(first / "dataset")


def test_a_bad_image_and_a_bad_number_cost_nobody_else(
    scored: Any, small_pool: Any, builds: Any, tmp_path: Path
) -> None:
    first, work, _ = scored
    values = metadata(first)["bright_value"].sort()
    limit = float(values[-3] + values[-4]) / 2
    parts = [pl.read_parquet(path) for path in sorted(work.glob("columns/fetch-*/*/*.parquet"))]
    darkest = metadata(first).sort("bright_value")["sha256"][0]
    victim = pl.concat(parts).row(by_predicate=pl.col("sha256") == darkest, named=True)
    (tar,) = work.glob(f"spool/*/{victim['spool']}")
    with tar.open("r+b") as file:  # within the image, so that the tar stays whole
        file.seek(victim["spool_offset"] + 2)
        file.write(b"\0" * (victim["stored_bytes"] - 2))
    scorers = {"bright": {"brightness": {"nan_above": limit}}}
    report = builds.make(small_pool.recipe(tmp_path / "r.yaml", scorers=scorers), tmp_path / "build", work)
    assert report["score"]["images"]["scorers"]["bright"]["outcomes"] == {"decode_failed": 1, "not_finite": 3}
    frame = metadata(tmp_path / "build")
    assert frame.height == report["kept"] == 24
    assert frame.filter(bright_outcome="decode_failed")["sha256"].to_list() == [darkest]
    assert (frame["bright_value"].is_null() == frame["bright_outcome"].is_not_null()).all()
    assert frame["bright_value"].drop_nulls().sort().equals(values[1:-3])
    # A rule that needs the score rejects exactly those, for the reason that says so.
    cut = small_pool.recipe(tmp_path / "cut.yaml", scorers=scorers, rules=at_least(0.0))
    assert builds.make(cut, tmp_path / "cut", work)["rejected"]["missing_bright_value"] == 4


def test_texts_are_scored_before_anything_is_fetched(small_pool: Any, builds: Any, tmp_path: Path) -> None:
    scorers = {"long": {"length": {}}, **BRIGHT}
    recipe = small_pool.recipe(
        tmp_path / "r.yaml",
        scorers=scorers,
        rules=at_least(15, "long_value"),  # "a page", "nothing", …
    )
    report = builds.make(recipe, tmp_path / "build")
    short = [name for name in small_pool.expected if name.startswith(("r-", "q-"))]
    rejected = report["rejected"]["long_value_too_low"]
    assert 4 <= rejected <= len(short)
    assert rejected + report["rejected"]["no_caption"] + sum(report["fetch"].values()) == report["pool_rows"]
    assert items("length") == report["pool_rows"] - report["rejected"]["no_caption"]
    assert [step["name"] for step in report["steps"]] == [
        "read", "rules", "fetch", "score_texts", "score", "duplicates",
    ]  # fmt: skip
    texts = report["steps"][3]
    assert texts["rows_in"] - texts["rows_out"] == rejected
    assert set(metadata(tmp_path / "build").columns) >= {"long_value", "long_outcome", "bright_value"}


def test_a_row_has_the_reason_of_the_earliest_point_whatever_was_scored_before(
    small_pool: Any, builds: Any, tree: Any, tmp_path: Path
) -> None:
    scorers = {"long": {"length": {}}, **BRIGHT}
    everything = small_pool.recipe(tmp_path / "a.yaml", scorers=scorers, require_caption=False, rules=[])
    builds.make(everything, tmp_path / "all", tmp_path / "used")
    strict = small_pool.recipe(
        tmp_path / "s.yaml",
        scorers=scorers,
        # The scores come first in the recipe, and all the same judge last.
        rules=[
            {"column_range": {"column": "bright_value", "at_least": 2}},
            {"column_range": {"column": "long_value", "at_least": 12}},
            {"image_size": {"min_side": 75}},
            {"caption_length": {"min_words": 3, "min_chars": 0}},
        ],
    )
    for name, work in (("over", "used"), ("fresh", "new")):
        builds.make(strict, tmp_path / name, tmp_path / work)
    assert tree(tmp_path / "over" / "ledger") == tree(tmp_path / "fresh" / "ledger")
    reasons = set(told(tmp_path / "over")["reason"])
    assert {
        "no_caption",
        "caption_too_few_words",
        "long_value_too_low",
        "image_too_small",
        "bright_value_too_low",
    } <= reasons


@pytest.mark.parametrize("order", ["blocks:3", "global"])
@pytest.mark.parametrize("mixture", [None, {"samples": 60}])
def test_embeddings_lie_beside_the_shards_row_by_row(
    small_pool: Any,
    builds: Any,
    tmp_path: Path,
    mixture: dict[str, int] | None,
    order: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bucket_order, "ROWS_PER_BUCKET", 5)
    scorers, shards = {"hue": {"colours": {}}}, {"samples_per_shard": 8, "order": order, "random_read_bytes": 1}
    changes = {"scorers": scorers, "splits": {"val": "30 %"}, "mixture": mixture, "shards": shards}
    recipe = small_pool.recipe(tmp_path / "r.yaml", **changes)
    report = builds.make(recipe, tmp_path / "build", lanes=3)
    dataset = tmp_path / "build" / "dataset"
    assert [(told.scorer, told.kind, told.samples) for told in read_descriptions(dataset)] == [
        ("hue", "image", report["samples"]),
        ("hue", "text", report["samples"]),
    ]
    for told in read_descriptions(dataset):
        assert (told.width, told.missing, told.model["model"]) == (3, {}, "colours")
        for path in (dataset / "metadata").glob("*.parquet"):
            frame = pl.read_parquet(path)
            assert not any("embedding" in name for name in frame.columns)
            vectors = map_embeddings(dataset, told, path.stem, frame.height).astype(np.float64)
            if told.kind == "text":
                captions = frame["caption"].to_list()
                wanted = np.array([[len(c), c.count("e") + 1, c.count("u") + 1] for c in captions], np.float64)
                wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
                assert np.abs(vectors - wanted).max() < 1e-3
            else:
                other = map_embeddings(dataset, read_descriptions(dataset)[1], path.stem, frame.height)
                assert np.abs((vectors * other).sum(axis=1) - frame["hue_similarity"].to_numpy()).max() < 2e-3
    assert manifest_files(dataset) >= {"embeddings/hue/image.json", "embeddings/hue/text.json"}
    assert shard_stats([str(dataset), "--verify"]) == 0
    record = json.dumps(read_manifest(dataset).record)
    assert "similarity" in record
    assert "embedding" not in record
    bits = small_pool.recipe(
        tmp_path / "b.yaml", scorers={"hue": {"colours": {}}}, embeddings={"dimensions": 2}, splits={"val": "30 %"}
    )
    CALLS.clear()
    builds.make(bits, tmp_path / "two", tmp_path / "build" / "work", lanes=1)
    assert CALLS == []
    assert {told.dimensions for told in read_descriptions(tmp_path / "two" / "dataset")} == {2}


def manifest_files(dataset: Path) -> set[str]:
    return {file.name for file in read_manifest(dataset).files}


def test_heads_read_the_embeddings_of_the_same_pass_or_of_a_later_one(
    small_pool: Any, builds: Any, tmp_path: Path
) -> None:
    weights = tmp_path / "head.npz"
    np.savez(weights, weight=np.array([[1.0, 0.0, 0.0]], np.float32), bias=np.zeros(1, np.float32))
    head = {"red": {"head": {"on": "hue", "weights": "./head.npz"}}}
    together = small_pool.recipe(tmp_path / "t.yaml", scorers={"hue": {"colours": {}}, **head})
    builds.make(together, tmp_path / "together", tmp_path / "w1")
    assert items("colours") > 20
    CALLS.clear()
    alone = small_pool.recipe(tmp_path / "a.yaml", scorers={"hue": {"colours": {}}})
    builds.make(alone, tmp_path / "alone", tmp_path / "w2")
    builds.make(together, tmp_path / "later", tmp_path / "w2")
    one, two = metadata(tmp_path / "together"), metadata(tmp_path / "later")
    assert one["red_score"].is_between(0.05, 0.95).all()
    assert one.equals(two)


def pool_with(folder: Path, small_pool: Any, **columns: list[Any]) -> dict[str, Any]:
    """A table of the first pictures of the small pool, with further columns."""
    count = len(next(iter(columns.values())))
    names = [name for name, reason in small_pool.expected.items() if reason is None][:count]
    frame = pl.DataFrame({"path": names, "caption": [f"a caption of {name}" for name in names], **columns})
    frame.write_parquet(folder / "pool.parquet")
    return {"path": str(folder / "pool.parquet"), "image_root": str(small_pool.folder)}


def test_scores_that_the_pool_brings_are_used_and_no_model_is_asked_for(
    small_pool: Any, builds: Any, tmp_path: Path
) -> None:
    pool = pool_with(tmp_path, small_pool, bright_value=[0.1, 0.6, 0.9])
    # Not even where it is: it is not looked for.
    scorers = {"bright": {"brightness": {"model": "./gone"}}}
    recipe = small_pool.recipe(tmp_path / "r.yaml", pool=pool, scorers=scorers, rules=at_least(0.5))
    report = builds.make(recipe, tmp_path / "build", tmp_path / "work")
    assert CALLS == []
    assert (report["rejected"], "score" in report) == ({"bright_value_too_low": 1}, False)
    assert sum(report["fetch"].values()) == 2  # the pool's score decides before the fetch
    assert metadata(tmp_path / "build")["bright_value"].sort().to_list() == [0.6, 0.9]
    scorers_told = read_manifest(tmp_path / "build" / "dataset").scorers
    assert scorers_told == {"bright": {"columns": ["bright_value"], "from_pool": True}}
    again = small_pool.recipe(
        tmp_path / "m.yaml", pool=pool, scorers={"bright": {"brightness": {}, "remeasure": True}}, rules=at_least(0.95)
    )
    assert builds.make(again, tmp_path / "measured", tmp_path / "work")["rejected"] == {"bright_value_too_low": 3}
    assert items() == 3
    open_cut = small_pool.recipe(
        tmp_path / "n.yaml", pool=pool, scorers={"bright": {"brightness": {}, "remeasure": True}}, rules=[]
    )
    builds.make(open_cut, tmp_path / "both", tmp_path / "work")
    frame = metadata(tmp_path / "both")
    assert frame["pool_bright_value"].sort().to_list() == [0.1, 0.6, 0.9]
    assert frame["bright_value"].max() < 0.95  # type: ignore[operator]
    assert items() == 3


def test_scores_that_do_not_fit_are_told_before_any_work(small_pool: Any, builds: Any, tmp_path: Path) -> None:
    pool = pool_with(tmp_path, small_pool, bright_value=[0.1], hue_similarity=[0.3], length=["x"])

    def refused(scorers: dict[str, Any], rules: Sequence[Any] = (), **sets: str) -> str:
        recipe = small_pool.recipe(tmp_path / "r.yaml", pool=pool, scorers=scorers, rules=list(rules))
        with pytest.raises(UsageError) as error:
            builds.prepare(recipe, tmp_path / "build", **sets)
        assert not (tmp_path / "build").exists()
        line = str(error.value)
        assert "\n" not in line
        return line

    gone = refused({"light": {"brightness": {"model": "./gone"}}})
    assert gone == f"scorers.light: model folder {tmp_path / 'gone'}: there is no such folder"
    partly = refused({"hue": {"colours": {}}})
    assert partly.startswith("scorers.hue: the pool has hue_similarity but not hue_image_embedding; ")
    text = refused({"long": {"length": {"text": "recaption"}}})
    assert text.startswith("scorers.long: it reads the text column 'recaption', which the pool does not have; there")
    twice = refused({"a": {"brightness": {}}, "b": {"brightness": {}}})
    assert twice == "scorers.b: it measures what scorers.a measures; leave one out"
    lost = refused({"red": {"head": {"on": "clip", "weights": "./gone.npz"}}})
    assert lost.startswith("scorers.red: ")
    unknown = refused({"light": {"brightness": {}}}, at_least(0, "light_score"))
    assert unknown.startswith("rules: column_range needs the column 'light_score', which neither the pool nor a step")
    assert "light_value" in unknown
    free = pool_with(tmp_path, small_pool, note=["x"])
    pool.clear()
    pool.update(free)

    def bound(model: str, scale: str = "cosine") -> list[dict[str, Any]]:
        return [{"score": {"column": "hue_similarity", "at_least": 0, "model": model, "scale": scale}}]

    hue = {"hue": {"colours": {}}}
    builds.prepare(
        small_pool.recipe(tmp_path / "r.yaml", pool=pool, scorers=hue, rules=bound("sha256:abababab")), tmp_path / "b"
    )
    other = refused(hue, bound("ViT-B-32/openai"))
    assert other.startswith("rules: score: its bounds on hue_similarity are for ViT-B-32/openai, and the recipe meas")
    assert "sha256:abababababab" in other
    scale = refused(hue, bound("sha256:abababab", "probability"))
    assert scale == "rules: score: hue_similarity is on the scale cosine, and the bounds on probability"
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        cuda = refused({"light": {"brightness": {}}}, inference__device="cuda")
        assert cuda == "inference: device cuda was asked for, and torch sees no CUDA device here"
        half = refused({"light": {"brightness": {}}}, inference__precision="fp16")
        assert half.startswith("inference: precision fp16 needs a CUDA device")


def test_a_head_of_another_width_is_told_before_any_work(small_pool: Any, builds: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "head.npz", weight=np.zeros((1, 512), np.float32), bias=np.zeros(1, np.float32))
    scorers = {"hue": {"colours": {}}, "red": {"head": {"on": "hue", "weights": "./head.npz"}}}
    recipe = small_pool.recipe(tmp_path / "r.yaml", scorers=scorers)
    with pytest.raises(UsageError, match=r"^scorers\.red: .*reads embeddings of 512 numbers, and hue gives 3"):
        builds.prepare(recipe, tmp_path / "build")


def test_work_that_is_changed_under_a_run_is_told(small_pool: Any, builds: Any, steps: Any, tmp_path: Path) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml", scorers=BRIGHT)

    def broken(ready: Any) -> None:
        score = score_step.score_images

        def lose(job: Any, lane: int) -> None:
            score(job, lane)
            for path in job.image_scorers[0].store.log.folder.glob("*.jsonl"):
                path.unlink()
            job.image_scorers[0].store.log.close()

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(steps.__globals__, "score_images", lose)
            steps(ready)

    with pytest.raises(PairmillError, match=r"rows were never measured by the scorer bright: the work folder was"):
        builds.make(recipe, tmp_path / "build", execute=broken)
    assert not (tmp_path / "build" / "dataset" / "manifest.json").exists()


def test_the_space_check_counts_embeddings(
    small_pool: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Colours, "embedding_width", lambda scorer: 1 << 20)
    needs = []
    for name, scorers in (("plain", {}), ("hue", {"hue": {"colours": {}}})):
        prepared = builds.prepare(small_pool.recipe(tmp_path / f"{name}.yaml", scorers=scorers), tmp_path / name)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(0))
        with pytest.raises(UsageError) as error:
            check_space(prepared, tmp_path / name, tmp_path / name / "work")
        needs.append(float(str(error.value).split("up to ")[1].split(" GB")[0]))
    # Two columns of two bytes a number, in the work folder and in the dataset.
    assert needs[1] - needs[0] == pytest.approx(32 * 4 * (1 << 20) * 2 / 1e9, abs=0.11)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_semantic_duplicates_go_by_the_embeddings_of_a_scorer_without_asking_it_again(
    small_pool: Any, builds: Any, tmp_path: Path, kind: str
) -> None:
    scorers = {"hue": {"colours": {}}}
    work = tmp_path / "work"
    whole = small_pool.recipe(tmp_path / "all.yaml", scorers=scorers, splits={"val": "30 %"})
    kept = builds.make(whole, tmp_path / "all", work, lanes=2)["kept"]
    CALLS.clear()
    match = {"column": f"hue_{kind}_embedding", "eps": 0.001, "reach": 1, "probes": 16}
    recipe = small_pool.recipe(
        tmp_path / "r.yaml", scorers=scorers, duplicates={"semantic": "reject", "semantic_match": match}
    )
    report = builds.make(recipe, tmp_path / "build", work, lanes=3)
    assert CALLS == []
    clusters = {"image": round(kept**0.5), "text": 2}[kind]  # the captions make two different vectors
    assert report["semantic"] == {"rows": kept, "without_embedding": 0, "clusters": clusters}
    assert report["kept"] == kept - report["rejected"]["semantic_duplicate"]
    assert 0 < report["rejected"]["semantic_duplicate"] < kept
    cosines = np.triu(units_of(tmp_path / "build", kind) @ units_of(tmp_path / "build", kind).T, 1)
    assert cosines.max() < 1 - 0.001
    nearest = (units_of(tmp_path / "all", kind) @ units_of(tmp_path / "build", kind).T).max(axis=1)
    assert nearest.min() >= 1 - 0.001  # every row is close to one that is kept


def units_of(build: Path, kind: str) -> npt.NDArray[np.float64]:
    """The embeddings of a dataset, of length 1."""
    told = next(told for told in read_descriptions(build / "dataset") if told.kind == kind)
    vectors = np.concatenate(
        [np.load(path) for path in sorted((build / "dataset" / "embeddings" / "hue" / kind).glob("*.npy"))]
    ).astype(np.float64)
    assert len(vectors) == told.samples
    return vectors / np.linalg.norm(vectors, axis=1)[:, None]
