from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms.duplicates import bands
from pairmill.transforms.duplicates.bands import BandIndex


@st.composite
def crowds(draw):
    """Hashes some few bits from one another, so that distances about the bound are common."""
    centre = draw(st.integers(0, 2**64 - 1))
    flips = draw(st.lists(st.lists(st.integers(0, 63), max_size=6), min_size=1, max_size=15))
    hashes = [centre ^ sum(1 << bit for bit in set(flip)) for flip in flips]
    second = draw(st.lists(st.integers(0, 65_535) | st.integers(0, 9), min_size=len(flips), max_size=len(flips)))
    return np.array(hashes, dtype=np.uint64), np.array(second, dtype=np.int64)


def found(index: BandIndex, phash: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    return [(int(q), int(r)) for pairs in index.close_to(phash, second) for q, r in zip(*pairs, strict=True)]


@settings(deadline=None)
@given(crowds(), st.integers(0, 8), st.integers(0, 65_535) | st.integers(0, 9), st.sampled_from([1, 3, 1 << 19]))
def test_every_close_pair_is_found_once(crowd, max_distance, max_second, chunk):
    phash, second = crowd
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "_CHUNK", chunk)
        pairs = found(BandIndex(phash, second, max_distance, max_second), phash, second)
    expected = [
        (a, b)
        for a in range(len(phash))
        for b in range(len(phash))
        if (int(phash[a]) ^ int(phash[b])).bit_count() <= max_distance and abs(second[a] - second[b]) <= max_second
    ]
    assert sorted(pairs) == expected


@pytest.mark.parametrize("max_distance", range(5))
def test_flipped_bits_anywhere_are_found(max_distance):
    rng = np.random.default_rng(max_distance)
    phash = rng.integers(0, 2**64, 2000, dtype=np.uint64)
    flipped = phash.copy()
    for row in range(len(flipped)):
        for bit in rng.choice(64, max_distance, replace=False):
            flipped[row] ^= np.uint64(1) << np.uint64(bit)
    second = np.zeros(len(phash), dtype=np.int64)
    pairs = found(BandIndex(phash, second, max_distance, 0), flipped, second)
    assert sorted(pairs) == [(row, row) for row in range(len(phash))]


def test_nothing_is_close_to_nothing():
    empty = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    some = np.array([5], dtype=np.uint64), np.array([5])
    assert found(BandIndex(*empty, 2, 9), *some) == []
    assert found(BandIndex(*some, 2, 9), *empty) == []
