from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.pipeline.demo.shuffle import Shuffle


@given(st.integers(1, 3000), st.integers(0, 2**31 - 1))
@settings(max_examples=60)
def test_every_slot_comes_once_and_the_way_back_is_known(rows: int, seed: int) -> None:
    shuffle = Shuffle(rows, seed)
    every = np.arange(rows, dtype=np.uint64)
    slots = shuffle.slots(every)
    assert np.array_equal(np.sort(slots), every)
    assert np.array_equal(shuffle.rows_of(slots), every)


def test_slices_agree_with_the_whole_and_seeds_differ() -> None:
    whole = Shuffle(1000, 4).slots(np.arange(1000, dtype=np.uint64))
    assert np.array_equal(Shuffle(1000, 4).slots(np.arange(300, 400, dtype=np.uint64)), whole[300:400])
    assert (Shuffle(1000, 5).slots(np.arange(1000, dtype=np.uint64)) == whole).mean() < 0.02


@pytest.mark.parametrize("rows", [1000, 10_000_000, 128_000_000_000])
def test_neighbours_are_scattered(rows: int) -> None:
    slots = Shuffle(rows, 0).slots(np.arange(1000, dtype=np.uint64))
    assert slots.max() < rows
    assert abs(float(slots.mean()) / rows - 0.5) < 0.06
    assert abs(np.corrcoef(slots[1:].astype(float), slots[:-1].astype(float))[0, 1]) < 0.15
