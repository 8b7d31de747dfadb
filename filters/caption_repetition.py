"""Captions that say the same words again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.bounds import check_bounds
from pairmill.filters.listed import WORD
from pairmill.filters.rule import Rejection, ValueRule


@dataclass(frozen=True, kw_only=True)
class CaptionRepetition(ValueRule):
    """Keeps captions of whose words at most the share ``max_repeated`` repeat an earlier one, in any case.

    "A rose is a rose" repeats 2 of 5 words: 0.4. The default is CC12M's number; the paper does not say how it counts,
    and this is the plain reading. A caption without words repeats none.
    """

    name: ClassVar[str] = "caption_repetition"
    source: ClassVar[str] = "CC12M (Changpinyo et al. 2021, arXiv:2102.08981, section 2.2)"
    reasons: ClassVar[tuple[str, ...]] = ("caption_repetitive",)

    column: str = "caption"
    max_repeated: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self.name, "0", 0, "max_repeated", self.max_repeated)
        check_bounds(self.name, "max_repeated", self.max_repeated, "1", 1)

    def columns(self) -> tuple[str, ...]:
        """The caption."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """Too many words are repeated."""
        words = pl.col(self.column).str.to_lowercase().str.extract_all(WORD)
        every, distinct = words.list.len(), words.list.n_unique()
        repeated = (every - distinct) / every
        return (Rejection("caption_repetitive", (every > 0) & (repeated > self.max_repeated)),)
