"""Column files: one row group a block, and names that are given once."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pairmill.sharding.column_files import (
    attempt_path,
    publish_once,
    read_row_groups,
    replace_file,
    row_counts,
    write_row_groups,
)
from pairmill.sharding.publish import TEMPORARY_MARK

SCHEMA = {"n": pl.UInt64(), "text": pl.String(), "raw": pl.Binary(), "share": pl.Float32(), "yes": pl.Boolean()}


def rows() -> st.SearchStrategy[pl.DataFrame]:
    row = st.tuples(
        st.none() | st.integers(0, 2**64 - 1),
        st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.none() | st.binary(max_size=20),
        st.none() | st.floats(width=32, allow_nan=False),
        st.none() | st.booleans(),
    )
    return st.lists(row, max_size=6).map(lambda found: pl.DataFrame(found, schema=SCHEMA, orient="row"))


@given(st.lists(rows(), min_size=1, max_size=5))
def test_each_frame_comes_back_as_its_row_group(
    tmp_path_factory: pytest.TempPathFactory, frames: list[pl.DataFrame]
) -> None:
    path = tmp_path_factory.mktemp("columns") / "a.parquet"
    assert write_row_groups(path, frames) == [frame.height for frame in frames]
    assert row_counts(path) == [frame.height for frame in frames]
    for found, frame in zip(read_row_groups(path, range(len(frames))), frames, strict=True):
        assert_frame_equal(found, frame)
    assert pq.read_schema(path).names == list(SCHEMA)


def test_a_large_frame_is_still_one_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"n": pl.int_range(1 << 20, eager=True)})
    write_row_groups(path, [frame, frame[:0]])
    assert pq.read_metadata(path).num_row_groups == 2
    assert row_counts(path) == [1 << 20, 0]


def test_columns_are_chosen_and_absent_ones_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_row_groups(path, [pl.DataFrame({"a": [1], "b": ["x"]})])
    assert read_row_groups(path, [0], ["b", "nowhere"])[0].columns == ["b"]


def test_the_first_to_publish_counts(tmp_path: Path) -> None:
    final = tmp_path / "final"
    won = []

    def publish(text: str) -> None:
        attempt = attempt_path(final)
        attempt.write_text(text)
        barrier.wait()
        if publish_once(attempt, final):
            won.append(text)

    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=publish, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [final.read_text()] == won
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_replacing_takes_the_name_over(tmp_path: Path) -> None:
    final = tmp_path / "final"
    final.write_text("old")
    attempt = attempt_path(final)
    attempt.write_text("new")
    replace_file(attempt, final)
    assert final.read_text() == "new"
    assert not attempt.exists()


def test_attempts_never_share_a_name_and_are_known_for_what_they_are(tmp_path: Path) -> None:
    names = {attempt_path(tmp_path / "a.parquet") for _ in range(100)}
    assert len(names) == 100
    assert all(TEMPORARY_MARK in name.name and name.parent == tmp_path for name in names)
    assert not any(name.match("*.parquet") for name in names)


@given(st.lists(rows(), min_size=1, max_size=3))
def test_what_a_field_is_told_changes_no_value(
    tmp_path_factory: pytest.TempPathFactory, frames: list[pl.DataFrame]
) -> None:
    path = tmp_path_factory.mktemp("told") / "a.parquet"
    write_row_groups(path, frames, {"share": {"pairmill.model": "ViT-B-32"}})
    for frame, read in zip(frames, read_row_groups(path, range(len(frames))), strict=True):
        assert_frame_equal(read, frame)
    schema = pq.read_schema(path)
    assert schema.field("share").metadata == {b"pairmill.model": b"ViT-B-32"}
    assert not schema.field("n").metadata
