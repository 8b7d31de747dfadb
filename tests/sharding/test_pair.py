"""The identity of a pair: block numbers, row ids, uids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.pair import (
    MAX_BLOCK_ROWS,
    MAX_BLOCKS_IN_FILE,
    MAX_FILES,
    block_file_number,
    block_name,
    block_number,
    describe_row,
    pair_uid,
    row_ids,
)

places = st.tuples(st.integers(0, MAX_FILES - 1), st.integers(0, MAX_BLOCKS_IN_FILE - 1))


@given(places, places)
def test_block_numbers_and_names_sort_as_the_pool_does(one: tuple[int, int], other: tuple[int, int]) -> None:
    a, b = block_number(*one), block_number(*other)
    assert (a < b) == (one < other)
    assert (block_name(a) < block_name(b)) == (one < other)
    assert block_file_number(a) == one[0]
    assert len(block_name(a)) == 12


@given(places, st.integers(1, 100))
def test_row_ids_of_the_last_block_fit(place: tuple[int, int], rows: int) -> None:
    ids = row_ids(block_number(*place), rows)
    assert ids.dtype == np.uint64
    assert int(ids[-1]) >> 16 == block_number(*place)
    assert int(ids[-1]) & (MAX_BLOCK_ROWS - 1) == rows - 1


def test_the_largest_row_id_is_below_2_to_the_63() -> None:
    last = block_number(MAX_FILES - 1, MAX_BLOCKS_IN_FILE - 1)
    assert int(row_ids(last, MAX_BLOCK_ROWS)[-1]) == (1 << 63) - 1


@pytest.mark.parametrize("place", [(MAX_FILES, 0), (0, MAX_BLOCKS_IN_FILE), (-1, 0)])
def test_a_number_out_of_range_is_refused(place: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="larger block_rows"):
        block_number(*place)


texts = st.text(max_size=30)


@given(st.tuples(texts, st.none() | texts), st.tuples(texts, st.none() | texts))
def test_two_pairs_have_one_uid_only_if_they_are_one(
    one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    assert (pair_uid(*one) == pair_uid(*other)) == (one == other)
    assert len(pair_uid(*one)) == 32


def test_uids_never_change() -> None:
    assert pair_uid("http://a/b.jpg", "a dog") == "fa3809e80d0f4dc550de4e7bd3d1e636"
    assert pair_uid("a", None) != pair_uid("a", "")
    assert pair_uid("ab", "c") != pair_uid("a", "bc")


def test_exit_codes() -> None:
    assert (PairmillError.exit_code, UsageError.exit_code) == (1, 2)
    assert issubclass(UsageError, PairmillError)


def test_a_row_is_described_by_its_place_in_the_pool() -> None:
    block = block_number(3, 1)
    assert describe_row(block << 16 | 42) == f"input file 3, block {block:012x}, row 42"
