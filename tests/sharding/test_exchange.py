"""Rows on their way between lanes: every row arrives once, where it was sent."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pairmill.sharding.exchange import BatchWriter, PartitionWriter, read_batch, read_partition, write_partitions
from pairmill.sharding.publish import TEMPORARY_MARK

SCHEMA = {"n": pl.UInt64(), "text": pl.String(), "raw": pl.Binary(), "stage": pl.Enum(["read", "rules"])}

sent = st.integers(1, 7).flatmap(
    lambda partitions: st.tuples(
        st.just(partitions),
        st.lists(st.lists(st.integers(0, partitions - 1), max_size=12), min_size=1, max_size=4),
    )
)


def write_batches(path: Path, frames: list[pl.DataFrame]) -> None:
    with BatchWriter(path) as writer:
        for frame in frames:
            writer.write(frame)


def frame_of(rows: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "n": rows,
            "text": [None if n % 5 == 0 else "é" * (n % 4) for n in rows],
            "raw": [None if n % 3 == 0 else bytes([n % 256]) * n for n in rows],
            "stage": [None if n % 2 else "rules" for n in rows],
        },
        schema=SCHEMA,
    )


@given(sent)
def test_every_row_arrives_once_in_the_order_sent(
    tmp_path_factory: pytest.TempPathFactory, sent: tuple[int, list[list[int]]]
) -> None:
    partitions, lanes = sent
    folder = tmp_path_factory.mktemp("exchange")
    number, frames, targets = 0, [], []
    for lane, places in enumerate(lanes):
        frame = frame_of(list(range(number, number + len(places))))
        number += len(places)
        write_partitions(folder / f"{lane:06d}.arrow", frame, np.array(places, dtype=np.int64), partitions)
        frames.append(frame)
        targets += places
    whole = pl.concat(frames)
    paths = list(folder.glob("*.arrow"))
    for partition in range(partitions):
        wanted = whole.filter(pl.Series([target == partition for target in targets], dtype=pl.Boolean))
        assert_frame_equal(read_partition(paths[::-1], partition), wanted)


@given(sent, st.integers(1, 30))
def test_a_writer_that_empties_itself_now_and_then_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, sent: tuple[int, list[list[int]]], rows_per_file: int
) -> None:
    partitions, blocks = sent
    folder = tmp_path_factory.mktemp("exchange")
    number, whole, targets = 0, [], []
    with PartitionWriter(folder, 3, partitions, rows_per_file) as writer:
        for places in blocks:
            frame = frame_of(list(range(number, number + len(places))))
            number += len(places)
            writer.add(frame, np.array(places, dtype=np.uint64))
            whole.append(frame)
            targets += places
    everything = pl.concat(whole)
    paths = list(folder.glob("*.arrow"))
    assert len(paths) <= max(1, number // rows_per_file + 1)
    for partition in range(partitions):
        wanted = everything.filter(pl.Series([target == partition for target in targets], dtype=pl.Boolean))
        assert_frame_equal(read_partition(paths, partition), wanted)


def test_a_file_that_was_not_finished_has_no_name(tmp_path: Path) -> None:
    def fail_after_one() -> None:
        with BatchWriter(tmp_path / "0.arrow") as writer:
            writer.write(frame_of([1]))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_after_one()
    assert list(tmp_path.iterdir()) == []


def test_an_unsigned_partition_array_is_as_good(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": pl.Series([5, 6, 7], dtype=pl.UInt64)})
    write_partitions(tmp_path / "0.arrow", frame, (frame["n"] % 3).to_numpy(), 3)
    assert [read_batch(tmp_path / "0.arrow", p)["n"].to_list() for p in range(3)] == [[6], [7], [5]]


def test_large_values_and_chunks_stay_one_batch(tmp_path: Path) -> None:
    text = "x" * (1 << 20)
    parts = [pl.DataFrame({"text": [text + str(i)], "raw": [bytes(1 << 20)]}) for i in range(40)]
    write_batches(tmp_path / "0.arrow", [pl.concat(parts, rechunk=False), parts[0][:0]])
    found = read_batch(tmp_path / "0.arrow", 0)
    assert found["text"].to_list() == [text + str(i) for i in range(40)]
    assert found["raw"].bin.size().sum() == 40 << 20
    assert read_batch(tmp_path / "0.arrow", 1).schema == found.schema


def test_no_files_are_no_rows(tmp_path: Path) -> None:
    assert read_partition([], 0).height == 0


def test_writers_of_one_name_do_not_disturb_readers(tmp_path: Path) -> None:
    path, frame = tmp_path / "0.arrow", frame_of(list(range(200)))
    write_batches(path, [frame])
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            write_batches(path, [frame])

    threads = [threading.Thread(target=rewrite) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            assert_frame_equal(read_batch(path, 0), frame)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [found.name for found in tmp_path.iterdir() if TEMPORARY_MARK in found.name] == []
