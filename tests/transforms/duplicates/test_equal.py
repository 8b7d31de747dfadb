from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms.duplicates.equal import equal_groups


@st.composite
def tables(draw):
    rows = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=25))
    words = np.array([row[:2] for row in rows], dtype=np.uint64).reshape(-1, 2) << np.uint64(62)
    known = np.array([row[2] for row in rows], dtype=np.bool_)
    rank = np.array(draw(st.permutations(range(len(rows)))), dtype=np.int64)
    return words, rank, known, np.array(draw(st.permutations(range(len(rows)))), dtype=np.int64)


@settings(deadline=None)
@given(tables())
def test_the_best_row_of_equal_key_survives(table):
    keys, rank, known, _ = table
    survivor = equal_groups(keys, rank, known)
    for row in range(len(keys)):
        group = [r for r in range(len(keys)) if known[r] and (keys[r] == keys[row]).all()]
        assert survivor[row] == (min(group, key=lambda r: rank[r]) if known[row] else row)


@settings(deadline=None)
@given(tables())
def test_the_order_of_the_rows_does_not_matter(table):
    keys, rank, known, order = table
    survivor = equal_groups(keys, rank, known)
    permuted = equal_groups(keys[order], rank[order], known[order])
    assert (order[permuted] == survivor[order]).all()


def test_keys_of_one_word():
    keys = np.array([7, 2**63, 7, 2**63 + 1], dtype=np.uint64)
    assert equal_groups(keys, np.array([3, 2, 1, 0])).tolist() == [2, 1, 2, 3]
    assert equal_groups(np.empty((0, 2), dtype=np.uint64), np.empty(0, dtype=np.int64)).tolist() == []


def test_a_rank_that_does_not_order_is_refused():
    keys = np.zeros(2, dtype=np.uint64)
    with pytest.raises(ValueError, match="rank repeats a number"):
        equal_groups(keys, np.array([1, 1]))
    with pytest.raises(ValueError, match="rank has the shape"):
        equal_groups(keys, np.array([1]))
