"""What becomes of stored images when a dataset is committed, and what later builds make of their lack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.pipeline.build import run_build
from pairmill.sharding import free_space
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.stats_cli import main as shard_stats
from pairmill.transforms import fetch_step, spool, spool_drop
from pairmill.transforms.spool_drop import SpoolPolicy, parts_above, spool_tars

DROP = SpoolPolicy("drop")


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def make(builds: Any, steps: Any) -> Callable[..., dict[str, Any]]:
    """Makes a build under a policy."""

    def run(
        recipe: Path, out: Path, work: Path, policy: SpoolPolicy, execute: Any = steps, least_free: int = 0, **sets: str
    ) -> Any:
        ready = builds.prepare(recipe, out, work, 2, **sets)
        object.__setattr__(ready.job, "least_free_bytes", least_free)
        return run_build(ready, work, execute, policy)

    return run


@pytest.fixture
def recipe(small_pool: Any, tmp_path: Path) -> Path:
    return Path(small_pool.recipe(tmp_path / "r.yaml"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Block and row of every image that is fetched."""
    found: list[tuple[int, int]] = []
    original = fetch_step.wanted_parts

    def watched(*which: Any) -> Iterator[Any]:
        for part in original(*which):
            found.extend((part.block, want.row) for want in part.wants)
            yield part

    monkeypatch.setattr(fetch_step, "wanted_parts", watched)
    return found


def tars(work: Path) -> list[Path]:
    return sorted((work / "spool").rglob("*.tar"))


def test_dropped_images_are_fetched_again_where_they_are_wanted(
    make: Any, recipe: Path, tree: Any, asked: list[Any], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    first = make(recipe, tmp_path / "one", work, DROP)
    assert first.pop("spool_dropped_bytes") > first["stored_bytes"]
    assert not tars(work)
    assert shard_stats([str(tmp_path / "one"), "--verify"]) == 0
    assert make(recipe, tmp_path / "one", work, DROP) == first  # nothing more to drop
    columns = tree(work / "columns")
    asked.clear()
    again = make(recipe, tmp_path / "two", work, SpoolPolicy(), seed="9")
    assert len(asked) == again["fetch"]["ok"] == first["fetch"]["ok"]  # what failed is known
    assert again["fetch"] == first["fetch"]
    assert columns.items() <= tree(work / "columns").items()
    make(recipe, tmp_path / "fresh", tmp_path / "other", SpoolPolicy(), seed="9")
    assert tree(tmp_path / "two" / "dataset") == tree(tmp_path / "fresh" / "dataset")
    assert tree(tmp_path / "two" / "ledger") == tree(tmp_path / "fresh" / "ledger")
    asked.clear()
    make(recipe, tmp_path / "three", work, SpoolPolicy(), seed="8")
    assert not asked  # they are there again


def test_a_kill_while_dropping_leaves_tars_that_the_next_run_removes(
    make: Any, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> int:
        raise Killed

    work = tmp_path / "work"
    with monkeypatch.context() as patch:
        patch.setattr(spool_drop, "remove_orphans", killed)
        with pytest.raises(Killed):
            make(recipe, tmp_path / "one", work, DROP)
    assert tars(work)
    make(recipe, tmp_path / "two", work, DROP)
    assert not tars(work)


@pytest.mark.parametrize("at", [9, 14, 20, 22])
def test_a_build_that_was_killed_goes_on_though_another_dropped_the_spool(
    make: Any, recipe: Path, steps: Any, tree: Any, tmp_path: Path, at: int
) -> None:
    class Killed(BaseException):
        pass

    def until(ready: Any) -> None:
        left = iter(range(at))

        def call(step: Callable[[], Any]) -> Any:
            if next(left, None) is None:
                raise Killed
            return step()

        steps(ready, call)

    work = tmp_path / "work"
    with pytest.raises(Killed):
        make(recipe, tmp_path / "two", work, SpoolPolicy(), until, seed="9")
    make(recipe, tmp_path / "one", work, DROP)
    make(recipe, tmp_path / "two", work, SpoolPolicy(), seed="9")
    make(recipe, tmp_path / "fresh", tmp_path / "other", SpoolPolicy(), seed="9")
    assert tree(tmp_path / "two" / "dataset") == tree(tmp_path / "fresh" / "dataset")
    assert tree(tmp_path / "two" / "ledger") == tree(tmp_path / "fresh" / "ledger")


def test_a_cap_is_met_and_what_is_left_is_not_fetched(
    make: Any, builds: Any, recipe: Path, asked: list[Any], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    make(recipe, tmp_path / "one", work, SpoolPolicy())
    whole = sum(path.stat().st_size for path in tars(work))
    cap = whole // 2
    told = make(recipe, tmp_path / "one", work, SpoolPolicy("cap", cap))  # of a finished build too
    left = sum(path.stat().st_size for path in tars(work))
    assert 0 < left <= cap
    assert left + told["spool_dropped_bytes"] == whole
    store = builds.prepare(recipe, tmp_path / "one", work).job.fetch_store
    blocks = {block for block, _ in spool_tars(store)}
    asked.clear()
    make(recipe, tmp_path / "two", work, SpoolPolicy("cap", whole), seed="9")
    assert asked
    assert not blocks & {block for block, _ in asked}
    assert sum(path.stat().st_size for path in tars(work)) <= whole


def test_what_a_build_kept_nothing_of_goes_first_then_the_oldest(tmp_path: Path) -> None:
    places = {}
    for block, age in ((1, 30), (2, 10), (3, 20), (4, 5)):
        path = tmp_path / f"{block:012x}.p0.x.tar"
        path.write_bytes(bytes(100))
        os.utime(path, (age, age))
        places[block, 0] = [path]
    kept = {1: 0, 2: 5, 3: 1, 4: 2}
    assert parts_above(places, 400, kept) == set()
    assert parts_above(places, 399, kept) == {(1, 0)}
    assert parts_above(places, 200, kept) == {(1, 0), (4, 0)}
    assert parts_above(places, 0, kept) == set(places)


def test_policies_by_their_names() -> None:
    assert SpoolPolicy.parse("keep") == SpoolPolicy("keep")
    assert SpoolPolicy.parse("cap:1.5GB") == SpoolPolicy("cap", 1_500_000_000)
    for text in ("", "Keep", "cap:", "cap:lots"):
        with pytest.raises(ValueError, match=r"give keep, drop or cap:SIZE|is no size"):
            SpoolPolicy.parse(text)


def test_a_run_stops_before_the_disk_is_full_and_goes_on_when_there_is_room(
    make: Any, recipe: Path, tree: Any, asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, opened = tmp_path / "work", iter([10_000] * 3)
    monkeypatch.setattr(free_space, "free_bytes", lambda path: next(opened, 999))
    with pytest.raises(PairmillError, match=r"999 B are free on this disk, and a run leaves 1\.0 KB \(--min-free\)"):
        make(recipe, tmp_path / "one", work, SpoolPolicy(), least_free=1000)
    committed = pl.concat(pl.read_parquet(file) for file in (work / "columns").glob("fetch-*/**/*.parquet"))
    first = {(row >> 16, row & 0xFFFF) for row in committed["row_id"].to_list()}
    assert first < set(asked)
    asked.clear()
    monkeypatch.setattr(free_space, "free_bytes", lambda path: 10**9)
    report = make(recipe, tmp_path / "one", work, SpoolPolicy(), least_free=1000)
    assert not first & set(asked)
    assert report["kept"] == 24
    make(recipe, tmp_path / "fresh", tmp_path / "other", SpoolPolicy())
    assert tree(tmp_path / "one" / "dataset") == tree(tmp_path / "fresh" / "dataset")


def test_blocks_that_are_open_are_committed_as_far_as_they_are(
    make: Any, small_pool: Any, tree: Any, asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_block = {"path": str(small_pool.folder), "format": "files", "block_rows": 100}
    recipe = small_pool.recipe(tmp_path / "r.yaml", pool=one_block)
    monkeypatch.setattr(spool, "LOOK_BYTES", 20_000)
    free = iter([10_000, 10_000, 10_000])
    monkeypatch.setattr(free_space, "free_bytes", lambda path: next(free, 400))
    work = tmp_path / "work"
    with pytest.raises(PairmillError, match="400 B are free on this disk"):
        make(recipe, tmp_path / "one", work, SpoolPolicy(), least_free=1000)
    (part,) = (work / "columns").glob("fetch-*/**/*.parquet")
    done = set(pl.read_parquet(part)["row_id"].to_list())
    assert 0 < len(done) < len(asked)
    asked.clear()
    monkeypatch.setattr(free_space, "free_bytes", lambda path: 10**9)
    make(recipe, tmp_path / "one", work, SpoolPolicy(), least_free=1000)
    assert not done & {block << 16 | row for block, row in asked}
    make(recipe, tmp_path / "fresh", tmp_path / "other", SpoolPolicy())
    assert tree(tmp_path / "one" / "dataset") == tree(tmp_path / "fresh" / "dataset")


def test_shards_are_not_begun_without_room(
    make: Any, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_step, "SpoolRoom", lambda store, least: spool.SpoolRoom(store, 0))
    monkeypatch.setattr(free_space, "free_bytes", lambda path: 2000)
    with pytest.raises(PairmillError, match=r"2\.0 KB are free on this disk, .* KB are to be written"):
        make(recipe, tmp_path / "one", tmp_path / "work", SpoolPolicy(), least_free=1000)
    assert not list((tmp_path / "one" / "dataset").glob("*.tar"))
    monkeypatch.undo()
    assert make(recipe, tmp_path / "one", tmp_path / "work", SpoolPolicy())["kept"] == 24
