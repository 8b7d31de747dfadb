"""Which rows are one row, and which share one image, against plain loops."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.errors import PairmillError
from pairmill.transforms.share_step import (
    hex_halves,
    image_owners,
    image_place,
    partition_of,
    repeated_rows,
    row_content,
)

ids = st.lists(st.integers(0, 2**62 - 1), unique=True, max_size=25)


def uids_frame(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    """(row_id, uid, content): the two halves of a uid are told apart."""
    return pl.DataFrame(
        {
            "row_id": [r[0] for r in rows],
            "uid_hi": [r[1] // 2 for r in rows],
            "uid_lo": [r[1] % 2 for r in rows],
            "content": [r[2] for r in rows],
        },
        schema=dict.fromkeys(("row_id", "uid_hi", "uid_lo", "content"), pl.UInt64),
    )


@given(st.data(), ids)
def test_repeats_name_the_first_row_in_pool_order(data: st.DataObject, row_ids: list[int]) -> None:
    uids = data.draw(st.lists(st.integers(0, 5), min_size=len(row_ids), max_size=len(row_ids)))
    found = repeated_rows(uids_frame([(row, uid, uid * 7) for row, uid in zip(row_ids, uids, strict=True)]))
    first: dict[int, int] = {}
    wanted = []
    for row, uid in sorted(zip(row_ids, uids, strict=True)):
        if uid in first:
            wanted.append((row, first[uid]))
        else:
            first[uid] = row
    assert found.rows() == wanted
    assert found.schema == {"row_id": pl.UInt64(), "survivor": pl.UInt64()}


@given(st.data(), ids)
def test_one_uid_of_two_contents_is_an_error_that_names_both(data: st.DataObject, row_ids: list[int]) -> None:
    rows = [(row, data.draw(st.integers(0, 4)), data.draw(st.integers(0, 1))) for row in row_ids]
    contents: dict[int, set[int]] = {}
    for _, uid, content in rows:
        contents.setdefault(uid, set()).add(content)
    clashing = {uid for uid, found in contents.items() if len(found) > 1}
    if not clashing:
        repeated_rows(uids_frame(rows))
        return
    with pytest.raises(PairmillError) as raised:
        repeated_rows(uids_frame(rows))
    message = str(raised.value)
    assert "\n" not in message
    assert "pool.rekey: true" in message
    named = [uid for uid in clashing if f"{uid // 2:016x}{uid % 2:016x}" in message]
    assert len(named) == 1
    told = [row for row, uid, _ in sorted(rows) if uid == named[0] and f"row {row & 0xFFFF}" in message]
    assert {content for row, uid, content in rows if row in told} == {0, 1}


@given(st.data(), ids)
def test_owners_are_fetched_rows_first_then_the_first(data: st.DataObject, row_ids: list[int]) -> None:
    rows = [(row, data.draw(st.integers(0, 4)), data.draw(st.booleans())) for row in row_ids]
    frame = pl.DataFrame(
        {
            "row_id": [r[0] for r in rows],
            "fetched": [r[2] for r in rows],
            "place_hi": [r[1] for r in rows],
            "place_lo": [3] * len(rows),
        },
        schema={"row_id": pl.UInt64, "fetched": pl.Boolean, "place_hi": pl.UInt64, "place_lo": pl.UInt64},
    )
    found = image_owners(frame)
    wanted = []
    for row, place, _ in rows:
        sharing = [(not fetched, other) for other, at, fetched in rows if at == place]
        owner = min(sharing)[1]
        if owner != row:
            wanted.append((row, owner))
    assert found.rows() == sorted(wanted)
    owners = set(found["owner"].to_list())
    assert not owners & set(found["row_id"].to_list())  # an owner owns its own


def test_nothing_is_repeated_or_shared_in_nothing() -> None:
    assert repeated_rows(uids_frame([])).height == 0
    empty = pl.DataFrame(
        schema={"row_id": pl.UInt64, "fetched": pl.Boolean, "place_hi": pl.UInt64, "place_lo": pl.UInt64}
    )
    assert image_owners(empty).height == 0


def pool(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {"url": pl.String, "path": pl.String, "tar_offset": pl.Int64, "caption": pl.String}
    return pl.DataFrame(rows, schema=schema)


def test_places_are_equal_only_for_one_image() -> None:
    rows = [
        {"url": "a"},
        {"path": "a"},
        {"path": "a", "url": "a"},  # what lies on disk is the image; the url says where it came from
        {"path": "a", "tar_offset": 512},
        {"path": "a", "tar_offset": 1024},
        {"path": "a5", "tar_offset": 12},
        {"path": "a", "tar_offset": 0},
    ]
    places = pool(rows).select(image_place()).to_series().to_list()
    assert places[1] == places[2]
    assert len(set(places)) == len(rows) - 1


def test_contents_differ_with_place_and_caption() -> None:
    rows = [{"url": u, "caption": c} for u in ("a", "b") for c in (None, "", "x")]
    assert pool(rows).select(row_content()).to_series().n_unique() == 6


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "import polars as pl\n"
        "from pairmill.transforms.share_step import image_place, row_content, HASH_SEEDS\n"
        "f = pl.DataFrame({'url': ['a', None], 'path': [None, 'b'], 'tar_offset': [None, 3], 'caption': ['x', None]},"
        " schema={'url': pl.String, 'path': pl.String, 'tar_offset': pl.Int64, 'caption': pl.String})\n"
        "print(f.select(image_place().hash(HASH_SEEDS[0]).alias('p'), row_content().alias('c')).rows())\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [run.communicate()[0] for run in runs]
    assert told[0] == told[1] != ""


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_digests_are_told_as_two_halves(digests: list[bytes]) -> None:
    high, low = hex_halves(pl.Series([d.hex() for d in digests], dtype=pl.String))
    assert high.to_list() == [int.from_bytes(d[:8], "big") for d in digests]
    assert low.to_list() == [int.from_bytes(d[8:], "big") for d in digests]
    assert high.dtype == low.dtype == pl.UInt64


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(1, 100))
def test_partitions_are_in_range(keys: list[int], partitions: int) -> None:
    found = partition_of(pl.Series(keys, dtype=pl.UInt64), partitions)
    assert found.tolist() == [key % partitions for key in keys]
    assert found.dtype == np.int64
