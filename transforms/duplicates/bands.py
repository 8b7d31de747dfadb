"""All pairs of 64-bit hashes within a Hamming distance, without comparing all with all.

Cut into d + 1 bands, two hashes that differ in at most d bits are equal in one band at least; cut into d + 2, in two
of them. Rows are sorted by the bits of a band (or of two), and within these by a second number that alike rows
hardly differ in, so that the candidates of a row are one short run of each table. Nothing is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from pairmill.transforms.duplicates.pictures import hamming

_SECOND_BITS = 16  # the second number is below 2**16
_KEY_BITS = 48  # what is left of a word for bits of the hash
_CHUNK = 1 << 19  # candidates looked at together: bounds the memory

_Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class BandIndex:
    """Rows (hash, second number) to be searched for those close in both.

    ``phash`` is uint64 (n,), ``second`` int64 (n,) within 0 to 65,535. A pair is found when its hashes differ in at
    most ``max_distance`` bits and its second numbers by at most ``max_second``. Memory: 16 bytes a row and table;
    3 tables for distance 2, 15 for 4, 45 for 8.
    """

    def __init__(
        self,
        phash: npt.NDArray[np.uint64],
        second: npt.NDArray[np.int64],
        max_distance: int,
        max_second: int,
    ) -> None:
        self._phash = phash
        self._max_distance = max_distance
        self._max_second = max_second
        self._tables = [_table(bands, phash, second) for bands in _band_sets(max_distance)]

    def close_to(self, phash: npt.NDArray[np.uint64], second: npt.NDArray[np.int64]) -> Iterator[_Pairs]:
        """Every pair (query, row) that is close, each once, as arrays of indexes, in parts of bounded size."""
        low = np.maximum(second - self._max_second, 0).astype(np.uint64)
        high = np.minimum(second + self._max_second, (1 << _SECOND_BITS) - 1).astype(np.uint64)
        earlier: list[np.uint64] = []
        for bands, keys, rows in self._tables:
            key = _key(bands, phash)
            first = np.searchsorted(keys, key | low, side="left")
            counts = np.searchsorted(keys, key | high, side="right") - first
            ends = np.cumsum(counts)
            for start in range(0, int(ends[-1]) if len(ends) else 0, _CHUNK):
                place = np.arange(start, min(start + _CHUNK, int(ends[-1])))
                query = np.searchsorted(ends, place, side="right")
                row = rows[first[query] + place - (ends[query] - counts[query])]
                fresh = hamming(phash[query], self._phash[row]) <= self._max_distance
                differing = phash[query] ^ self._phash[row]
                for mask in earlier:  # a pair equal in the bands of an earlier table was found there
                    fresh &= (differing & mask) != 0
                yield query[fresh], row[fresh]
            earlier.append(_mask(bands))


_Bands = tuple[tuple[int, int], ...]  # (lowest bit, number of bits), highest first


def _table(
    bands: _Bands, phash: npt.NDArray[np.uint64], second: npt.NDArray[np.int64]
) -> tuple[_Bands, npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    keys = _key(bands, phash) | second.astype(np.uint64)
    rows = np.argsort(keys, kind="stable")
    return bands, keys[rows], rows


def _band_sets(max_distance: int) -> list[_Bands]:
    """Sets of bands such that two hashes within the distance are equal in all bands of one set at least."""
    together = 1 if max_distance <= 2 else 2  # above, single bands would be too narrow to tell hashes apart
    count = max_distance + together
    edges = [64 * i // count for i in range(count + 1)]
    bands = [(low, high - low) for low, high in pairwise(edges)]
    return [tuple((low, min(bits, _KEY_BITS)) for low, bits in chosen) for chosen in combinations(bands, together)]


def _key(bands: _Bands, phash: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The bits of the bands, side by side above the bits of the second number."""
    key = np.zeros_like(phash)
    shift = _SECOND_BITS
    for low, bits in bands:
        key |= ((phash >> np.uint64(low)) & np.uint64((1 << bits) - 1)) << np.uint64(shift)
        shift += bits
    return key


def _mask(bands: _Bands) -> np.uint64:
    mask = 0
    for low, bits in bands:
        mask |= ((1 << bits) - 1) << low
    return np.uint64(mask)
