"""The store of a step: the published file is the commit, and packing changes no block."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pairmill.sharding import column_files, step_store
from pairmill.sharding.commit_log import Commit, CommitLog
from pairmill.sharding.step_store import PACK_BLOCKS, StepStore


def store_at(folder: Path, run: str = "run") -> StepStore:
    return StepStore(str(folder), "fetch", "f" * 64, run)


def frame_of(block: int, rows: int = 2) -> pl.DataFrame:
    columns = {"n": [block * 100 + i for i in range(rows)], "text": [f"b{block}"] * rows}
    return pl.DataFrame(columns, schema={"n": pl.Int64, "text": pl.String})


def read_all(store: StepStore) -> dict[tuple[int, int], pl.DataFrame]:
    """Every committed block as a run that begins now would read it."""
    fresh = store_at(Path(store.work), f"{store.run}-{os.urandom(4).hex()}")
    return {
        (block, commit.part): fresh.read([commit])
        for block, commits in fresh.snapshot("start").items()
        for commit in commits
    }


def test_blocks_of_one_file_are_read_by_their_names(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    frames = [frame_of(7), frame_of(8, 0), frame_of(9, 3)]
    commits = store.commit([7, 8, 9], frames, seconds=3.0, digests=["a", "b", "c"], counts={"ok": 1})
    assert [(c.block, c.row_group, c.rows, c.seconds, c.digest) for c in commits] == [
        (7, 0, 2, 1.0, "a"),
        (8, 1, 0, 1.0, "b"),
        (9, 2, 3, 1.0, "c"),
    ]
    for commit, frame in zip(commits, frames, strict=True):
        assert_frame_equal(store.read([commit]), frame)
    assert store.read([commits[0]], ["text"]).columns == ["text"]
    assert set(read_all(store)) == {(7, 0), (8, 0), (9, 0)}


def test_the_first_of_two_attempts_counts_and_the_other_is_told(tmp_path: Path) -> None:
    told = []
    winner, loser = store_at(tmp_path, "a"), store_at(tmp_path, "b")
    winner.commit([5], [frame_of(5, 2)], on_loss=lambda: told.append("winner"))
    commits = loser.commit([5], [frame_of(6, 4)], on_loss=lambda: told.append("loser"))
    assert told == ["loser"]
    assert commits[0].rows == 2  # of what is there, not of what was offered
    ((_, found),) = read_all(winner).items()
    assert_frame_equal(found, frame_of(5, 2))
    assert len(list(winner.columns_folder.rglob("*"))) == 2  # a folder and one file, no attempt beside it


def test_a_published_file_that_was_not_logged_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CommitLog, "append", _killed)
        with pytest.raises(KeyboardInterrupt):
            store_at(tmp_path, "killed").commit([3, 4], [frame_of(3), frame_of(4, 5)], part=1)
    store = store_at(tmp_path, "next")
    assert store.snapshot("start") == {}
    assert store.adopt([3, 4], part=0) is None
    adopted = store.adopt([3, 4], part=1, count=lambda frame: {"ok": frame.height})
    assert adopted is not None
    assert [(c.block, c.part, c.rows, c.counts) for c in adopted] == [(3, 1, 2, {"ok": 2}), (4, 1, 5, {"ok": 5})]
    assert_frame_equal(read_all(store)[4, 1], frame_of(4, 5))


def _killed(*args: Any, **named: Any) -> None:
    raise KeyboardInterrupt


def test_a_snapshot_is_of_its_moment(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.commit([1], [frame_of(1)])
    assert list(store.snapshot("start")) == [1]
    store.commit([2], [frame_of(2)])
    store.commit([1], [frame_of(11)], part=1)
    assert list(store.snapshot("start")) == [1]
    later = store.snapshot("fetched")
    assert {block: [c.part for c in parts] for block, parts in later.items()} == {1: [0, 1], 2: [0]}


def filled(folder: Path, blocks: int = PACK_BLOCKS + 44) -> tuple[StepStore, dict[tuple[int, int], pl.DataFrame]]:
    """A store with a small file a block; every tenth block has a second part, every seventh no row."""
    store = store_at(folder)
    for block in range(blocks):
        store.commit([block], [frame_of(block, 0 if block % 7 == 0 else 2)], counts={"ok": block})
        if block % 10 == 0:
            store.commit([block], [frame_of(block + 5000, 1)], part=1)
    return store, read_all(store)


def assert_same(found: dict[tuple[int, int], pl.DataFrame], wanted: dict[tuple[int, int], pl.DataFrame]) -> None:
    assert set(found) == set(wanted)
    for place, frame in wanted.items():
        assert_frame_equal(found[place], frame)


@pytest.fixture
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of commits, whose durability is not what is tested."""
    monkeypatch.setattr(column_files.os, "fsync", lambda handle: None)


@pytest.mark.usefixtures("_no_sync")
def test_packing_keeps_every_block_in_a_few_files(tmp_path: Path) -> None:
    store, before = filled(tmp_path)
    commits = {(c.block, c.part): c for c in store.log.read()}
    store.pack()
    assert_same(read_all(store), before)
    assert sorted(path.name for path in store.columns_folder.rglob("*.parquet")) == sorted(
        {c.path for c in store.log.read()}
    )
    assert len(list(store.columns_folder.rglob("*.parquet"))) == 2
    for commit in store.log.read():
        was = commits[commit.block, commit.part]
        assert (commit.rows, commit.counts, commit.seconds) == (was.rows, was.counts, was.seconds)
    store.pack()
    assert_same(read_all(store), before)


@pytest.mark.usefixtures("_no_sync")
def test_a_few_files_are_left_as_they_are(tmp_path: Path) -> None:
    store, before = filled(tmp_path, 20)
    files = sorted(store.columns_folder.rglob("*.parquet"))
    store.pack()
    assert sorted(store.columns_folder.rglob("*.parquet")) == files
    assert_same(read_all(store), before)


@pytest.mark.usefixtures("_no_sync")
@pytest.mark.parametrize(
    ("where", "what", "at"),
    [
        (step_store, "write_row_groups", 0),
        (step_store, "write_row_groups", 1),
        (step_store, "publish_once", 0),
        (step_store, "publish_once", 1),
        (CommitLog, "replace", 0),  # while folding
        (CommitLog, "replace", 1),  # both packs published, neither logged
        (Path, "unlink", 3),
        (Path, "unlink", 100),
    ],
)
def test_packing_killed_anywhere_keeps_every_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, what: str, at: int
) -> None:
    store, before = filled(tmp_path)
    original, calls = getattr(where, what), iter(range(10_000))

    def killing(*args: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise KeyboardInterrupt
        return original(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, what, killing)
        with pytest.raises(KeyboardInterrupt):
            store.pack()
    assert_same(read_all(store), before)
    again = store_at(tmp_path, "again")
    again.pack()
    assert_same(read_all(again), before)


@pytest.mark.usefixtures("_no_sync")
def test_a_pack_that_was_killed_is_not_taken_for_a_later_one_of_the_same_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = filled(tmp_path)
    replace = CommitLog.replace
    with monkeypatch.context() as patch:
        calls = iter([replace])

        def second_killed(self: CommitLog, commits: list[Commit]) -> None:
            next(calls, _killed)(self, commits)  # the fold's own is the first

        patch.setattr(CommitLog, "replace", second_killed)
        with pytest.raises(KeyboardInterrupt):
            store.pack()
    # One more part in the middle of the last, short pack: it begins and ends as before.
    later = store_at(tmp_path, "later")
    later.commit([285], [frame_of(9000, 3)], part=1)
    wanted = read_all(later)
    later.pack()
    assert_same(read_all(later), wanted)
    assert {path.name for path in later.columns_folder.glob("pack-*")} == {c.path for c in later.log.read()}


def test_a_hundred_thousand_blocks_are_known_without_opening_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path)
    store.log.folder.mkdir(parents=True)
    store.log.replace([Commit(block, 0, f"0/{block}.parquet", 0, 0) for block in range(100_000)])
    touched = []
    for name in ("stat", "open", "is_file"):
        original = getattr(Path, name)

        def spy(self: Path, *args: Any, _call: Any = original, **named: Any) -> Any:
            touched.append(self)
            return _call(self, *args, **named)

        monkeypatch.setattr(Path, name, spy)
    assert len(store.snapshot("start")) == 100_000
    assert not [path for path in touched if store.columns_folder in path.parents]
    assert len(touched) < 10
