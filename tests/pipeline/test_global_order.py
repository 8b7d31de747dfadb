"""The global order: all samples shuffled, and the same bytes by random reads, by two passes, and after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pairmill.pipeline.shard_report import plan_lines, shard_lines
from pairmill.sharding.byte_size import told_bytes
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.shuffle import mix
from pairmill.sharding.stats_cli import main as shard_stats
from pairmill.transforms import bucket_order, bucket_step
from pairmill.transforms import write_step as write_module

GLOBAL = {"order": "global", "samples_per_shard": 4}
SPLITS = {"val": "30 %"}
NO_NEAR = {"duplicates": {"near": "off"}}  # the smaller copy of a picture is the one that is narrow


@pytest.fixture(autouse=True, scope="module")
def _many_buckets() -> Iterator[None]:
    """The pool is small: rows are to be many for a bucket and a file all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(bucket_order, "ROWS_PER_BUCKET", 3)
        patch.setattr(bucket_order, "LEAST_ROWS_PER_BUCKET", 1)
        patch.setattr(bucket_step, "ROWS_PER_FILE", 5)
        yield


@pytest.fixture(scope="module")
def made(small_pool: Any, builds: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A finished build by random reads, its recipe, and its report."""
    folder = tmp_path_factory.mktemp("global")
    recipe = small_pool.recipe(folder / "r.yaml", shards=GLOBAL, splits=SPLITS)
    return folder / "build", recipe, builds.make(recipe, folder / "build", folder / "work", lanes=2)


def uids(build: Path, split: str) -> pl.Series:
    files = sorted((build / "dataset" / "metadata").glob(f"{split}-*.parquet"))
    return pl.concat([pl.read_parquet(file) for file in files])["uid"]


def test_the_order_is_that_of_the_seed_over_all_samples(made: Any, builds: Any, tmp_path: Path) -> None:
    out, recipe, report = made
    assert report["shards"]["order"] == "global"
    assert not report["shards"]["two_passes"]
    assert sum(len(uids(out, split)) for split in ("train", "val")) == report["kept"]
    for split in ("train", "val"):
        found = uids(out, split)
        keys = mix(hex_halves(found)[1].to_numpy(), 0, f"rows {split}")
        assert len(found) > 4
        assert (np.diff(keys.astype(object)) > 0).all()
    other = tmp_path / "other"
    builds.make(recipe, other, out.parent / "work", seed="5")
    assert sorted(uids(other, "train")) != list(uids(other, "train"))
    assert list(uids(other, "train")) != list(uids(out, "train"))
    assert shard_stats([str(out / "dataset"), "--verify"]) == 0


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("random_read_bytes", ["1", "9000", "null"])
def test_neither_lanes_nor_the_way_change_a_byte(
    made: Any, builds: Any, tree: Any, tmp_path: Path, lanes: int, random_read_bytes: str
) -> None:
    out, recipe, _ = made
    build = tmp_path / "build"
    sets = {"shards__random_read_bytes": random_read_bytes}
    report = builds.make(recipe, build, out.parent / "work", lanes=lanes, **sets)
    assert report["shards"]["two_passes"] == (random_read_bytes != "null")
    assert tree(build / "dataset") == tree(out / "dataset")
    assert not (build / "parts").exists()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("shards", [0, 1, 3])
def test_a_killed_build_goes_on_and_moves_only_what_is_missing(
    made: Any, builds: Any, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    out, recipe, _ = made
    build, work = tmp_path / "build", out.parent / "work"
    real, written = write_module._write_shard, []

    def dies(*told: Any) -> Any:
        if len(written) == shards:
            raise Killed
        written.append(told[2])
        return real(*told)

    monkeypatch.setattr(write_module, "_write_shard", dies)
    with pytest.raises(Killed):
        builds.make(recipe, build, work, lanes=2, shards__random_read_bytes="1")
    whole = moved_bytes(build)
    monkeypatch.setattr(write_module, "_write_shard", real)
    moved, read = [], bucket_step.read_in_order
    monkeypatch.setattr(bucket_step, "read_in_order", lambda path, of: moved.append(len(of)) or read(path, of))
    report = builds.make(recipe, build, work, lanes=3, shards__random_read_bytes="100")  # other parts, other lanes
    assert whole == report["shards"]["stored_bytes"]
    assert 0 < sum(moved) <= report["kept"]
    assert (sum(moved) < report["kept"]) == (shards > 0)
    assert tree(build / "dataset") == tree(out / "dataset")


def moved_bytes(build: Path) -> int:
    return sum(path.stat().st_size for path in build.glob("parts/*/moved-images/*/*.bin"))


def test_copies_of_a_mixture_are_laps_apart(small_pool: Any, builds: Any, tree: Any, tmp_path: Path) -> None:
    mixture = {"samples": 50, "max_copies": 3}
    recipe = small_pool.recipe(tmp_path / "r.yaml", shards=GLOBAL, mixture=mixture)
    report = builds.make(recipe, tmp_path / "one", tmp_path / "work")
    assert report["samples"] == 50
    found = list(uids(tmp_path / "one", "train"))
    first_lap = found[: len(set(found[: found.index(found[0], 1)]))]
    assert len(first_lap) == len(set(first_lap))
    assert len(found) == 50 > len(set(found)) == report["kept"]
    again = builds.make(recipe, tmp_path / "two", tmp_path / "work", lanes=3, shards__random_read_bytes="1")
    assert again["shards"]["two_passes"]
    assert tree(tmp_path / "one" / "dataset") == tree(tmp_path / "two" / "dataset")


def test_groups_are_shuffled_each(small_pool: Any, builds: Any, tree: Any, tmp_path: Path) -> None:
    groups = {"by": "original_width", "cuts": [90], "names": ["small", "large"]}
    recipe = small_pool.recipe(tmp_path / "r.yaml", shards=GLOBAL | {"groups": groups}, splits=SPLITS, **NO_NEAR)
    report = builds.make(recipe, tmp_path / "one", tmp_path / "work")
    names = {split for split, told in report["shards"]["splits"].items() if told["samples"]}
    assert {"train-small", "train-large"} <= names
    for split in names:
        keys = mix(hex_halves(uids(tmp_path / "one", split))[1].to_numpy(), 0, f"rows {split}")
        assert (np.diff(keys.astype(object)) > 0).all()
    builds.make(recipe, tmp_path / "two", tmp_path / "work", lanes=3, shards__random_read_bytes="1")
    assert tree(tmp_path / "one" / "dataset") == tree(tmp_path / "two" / "dataset")


def test_the_plan_is_told_before_and_after(made: Any, builds: Any, steps: Any, tmp_path: Path) -> None:
    out, recipe, _ = made
    before: list[str] = []

    def watched(prepared: Any) -> None:
        assert plan_lines(prepared.job) == []
        steps(prepared)
        before.extend(plan_lines(prepared.job))

    sets = {"shards__random_read_bytes": "1", "execute": watched}
    report = builds.make(recipe, tmp_path / "build", out.parent / "work", **sets)
    after = shard_lines(report)
    assert len(before) == len(after) == 3
    stored = told_bytes(report["shards"]["stored_bytes"])
    assert f"bytes move three times, and take {stored} besides" in before[-1]
    assert f"bytes move three times, and took {stored} besides" in after[-1]
    for line, again in zip(sorted(before[:2]), sorted(after[:2]), strict=True):
        split, _, rest = line.partition(" shards")
        assert again.startswith(f"{split} shards of ")
        assert again.endswith(rest)
        assert rest == ", decided by samples_per_shard, 4"


def test_a_pool_of_which_nothing_is_kept(small_pool: Any, builds: Any, tmp_path: Path) -> None:
    rules = [{"image_size": {"min_side": 9999}}]
    recipe = small_pool.recipe(tmp_path / "r.yaml", shards=GLOBAL | {"random_read_bytes": 1}, rules=rules)
    report = builds.make(recipe, tmp_path / "build", tmp_path / "work", lanes=2)
    assert (report["kept"], report["shards"]["splits"]["train"]["shards"]) == (0, 0)


def test_how_images_are_read_is_no_part_of_what_a_build_is(made: Any, builds: Any, tmp_path: Path) -> None:
    out, recipe, _ = made
    work = out.parent / "work"
    plain, other = (
        builds.prepare(recipe, tmp_path / "b", work, **sets) for sets in ({}, {"shards__random_read_bytes": "1"})
    )
    assert plain.recipe_fingerprint() == other.recipe_fingerprint()
    assert plain.recipe_text() == other.recipe_text()
    manifest = json.loads((out / "dataset" / "manifest.json").read_text())
    assert "random_read_bytes" not in json.dumps(manifest)
