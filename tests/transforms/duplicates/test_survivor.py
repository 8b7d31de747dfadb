from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms.duplicates.keys import text_keys
from pairmill.transforms.duplicates.survivor import survivor_rank

SIZE = st.integers(1, 3)
row_lists = st.lists(
    st.tuples(SIZE, SIZE, SIZE, st.sampled_from("abc")).map(lambda row: (*row,)), min_size=1, max_size=20
)


def rank_of(policy, rows, ids):
    width, height, size = (np.array([row[i] for row in rows], dtype=np.int32) for i in range(3))
    uid_keys, _ = text_keys([row[3] for row in rows])
    return survivor_rank(policy, ids, uid_keys=uid_keys, width=width, height=height, fetched_bytes=size)


@settings(deadline=None)
@given(row_lists)
def test_the_largest_survives_then_the_heaviest_then_the_lot(rows):
    ids = np.arange(len(rows), dtype=np.uint64) + 5
    keys, _ = text_keys([row[3] for row in rows])

    def place(i):
        return (-rows[i][0] * rows[i][1], -rows[i][2], tuple(keys[i].tolist()), i)

    assert np.argsort(rank_of("largest", rows, ids)).tolist() == sorted(range(len(rows)), key=place)
    by_uid = sorted(range(len(rows)), key=lambda i: (tuple(keys[i].tolist()), i))
    assert np.argsort(rank_of("uid", rows, ids)).tolist() == by_uid


@settings(deadline=None)
@given(row_lists, st.randoms(use_true_random=False), st.sampled_from(["largest", "uid", "first"]))
def test_the_order_of_the_rows_does_not_matter(rows, random, policy):
    ids = np.arange(len(rows), dtype=np.uint64)
    order = list(range(len(rows)))
    random.shuffle(order)
    permuted = rank_of(policy, [rows[i] for i in order], ids[order])
    assert permuted.tolist() == rank_of(policy, rows, ids)[order].tolist()


def test_the_first_needs_nothing_but_row_ids():
    assert survivor_rank("first", np.array([9, 2**63, 3], dtype=np.uint64)).tolist() == [1, 2, 0]


def test_large_images_do_not_overflow():
    side = np.array([50_000, 60_000], dtype=np.int32)
    keys, _ = text_keys(["a", "b"])
    rank = survivor_rank(
        "largest", np.arange(2, dtype=np.uint64), uid_keys=keys, width=side, height=side, fetched_bytes=side
    )
    assert rank.tolist() == [1, 0]


def test_what_is_needed_is_named():
    ids = np.arange(2, dtype=np.uint64)
    with pytest.raises(ValueError, match="survivor 'uid' needs uid_keys"):
        survivor_rank("uid", ids)
    with pytest.raises(ValueError, match="survivor 'largest' needs width"):
        survivor_rank("largest", ids, uid_keys=np.zeros((2, 2), dtype=np.uint64))
    with pytest.raises(ValueError, match="survivor is 'oldest'; it must be 'largest', 'uid' or 'first'"):
        survivor_rank("oldest", ids)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a row id is repeated"):
        survivor_rank("first", np.zeros(2, dtype=np.uint64))
