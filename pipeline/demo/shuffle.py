"""An order of any number of rows that is found row by row: nobody holds it, and it can be asked both ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairmill.pipeline.demo.chance import ORDER, Chance

Numbers = npt.NDArray[np.uint64]
_ROUNDS = 4


@dataclass(frozen=True)
class Shuffle:
    """A permutation of 0 to ``rows`` - 1 drawn from ``seed``.

    A Feistel network over the next power of four, applied again to what lands outside (cycle walking: Black and
    Rogaway 2002, Ciphers with Arbitrary Finite Domains).
    """

    rows: int
    seed: int

    def slots(self, rows: Numbers) -> Numbers:
        """The slot of each row number, both uint64 of shape (n,)."""
        return self._walk(rows, forward=True)

    def rows_of(self, slots: Numbers) -> Numbers:
        """The row number of each slot: undoes ``slots``."""
        return self._walk(slots, forward=False)

    def _walk(self, numbers: Numbers, forward: bool) -> Numbers:
        half = np.uint64(max(1, ((self.rows - 1).bit_length() + 1) // 2))
        chance = Chance(self.seed, ORDER, self.rows)
        keys = [np.uint64(chance.below(1 << 53)) for _ in range(_ROUNDS)]
        found = numbers.astype(np.uint64)
        away = np.arange(len(found))
        while len(away):
            found[away] = _network(found[away], half, keys, forward)
            away = away[found[away] >= self.rows]
        return found


def _network(numbers: Numbers, half: np.uint64, keys: list[np.uint64], forward: bool) -> Numbers:
    """The two halves of each number exchanged and mixed once for each key."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    if forward:
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
    else:
        for key in reversed(keys):
            left, right = right ^ (_mixed(left ^ key) & mask), left
    return left << half | right


def _mixed(numbers: Numbers) -> Numbers:
    """The finisher of splitmix64, modulo 2**64."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), np.uint64)
