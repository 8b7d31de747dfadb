"""Chance that repeats: numbers that depend on a seed, a stream and a number, and on nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

#: What the numbers decide; two streams of one seed have nothing in common.
SCENES, PLACES, PIXELS, WORDINGS, FAULTS, ORDER, EVALUATION, OTHERS, TWINS = range(9)
MAX_SEED = 2**31 - 1


class Chance:
    """Numbers in one fixed order for each (seed, stream, number), all of them 0 or more.

    Python promises the sequence of ``random.Random(int).random()`` to all its versions; numpy's generators promise
    less.
    """

    __slots__ = ("share",)

    def __init__(self, seed: int, stream: int, number: int = 0) -> None:
        #: The next number, at least 0 and below 1.
        self.share = random.Random((seed << 4 | stream) << 64 | number).random

    def below(self, end: int) -> int:
        """A whole number from 0 to ``end`` - 1."""
        return int(self.share() * end)

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items, each as likely."""
        return items[int(self.share() * len(items))]

    def between(self, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        return low + (high - low) * self.share()
