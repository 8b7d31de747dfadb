"""Captions of too few or too many words and characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.bounds import check_at_least, check_bounds
from pairmill.filters.rule import Rejection, ValueRule

# What Python's str.split() separates at: Unicode white space, which is what \s means to Polars, and four
# control characters that Unicode does not count to it.
_WORD = r"[^\s\x1c-\x1f]+"


@dataclass(frozen=True, kw_only=True)
class CaptionLength(ValueRule):
    """Keeps captions of ``min_words`` to ``max_words`` words and ``min_chars`` to ``max_chars`` characters.

    Words are what Python's ``str.split()`` gives, characters are Unicode code points, both on the caption as it is.
    The defaults are DataComp's ``basic_filter``: more than 2 words and more than 5 characters. None: no bound.
    """

    name: ClassVar[str] = "caption_length"
    source: ClassVar[str] = "DataComp basic_filter (Gadre et al. 2023, arXiv:2304.14108; baselines/apply_filter.py)"
    reasons: ClassVar[tuple[str, ...]] = (
        "caption_too_few_words",
        "caption_too_many_words",
        "caption_too_few_chars",
        "caption_too_many_chars",
    )

    column: str = "caption"
    min_words: int | None = 3
    max_words: int | None = None
    min_chars: int | None = 6
    max_chars: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("min_words", "max_words", "min_chars", "max_chars"):
            check_at_least(self.name, name, getattr(self, name), 0)
        check_bounds(self.name, "min_words", self.min_words, "max_words", self.max_words)
        check_bounds(self.name, "min_chars", self.min_chars, "max_chars", self.max_chars)

    def columns(self) -> tuple[str, ...]:
        """The caption."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """Too few words, too many words, too few characters, too many characters."""
        words = word_count(pl.col(self.column))
        chars = pl.col(self.column).str.len_chars()
        bounded = (
            ("caption_too_few_words", self.min_words, words.lt),
            ("caption_too_many_words", self.max_words, words.gt),
            ("caption_too_few_chars", self.min_chars, chars.lt),
            ("caption_too_many_chars", self.max_chars, chars.gt),
        )
        return tuple(Rejection(reason, outside(bound)) for reason, bound, outside in bounded if bound is not None)


def word_count(text: pl.Expr) -> pl.Expr:
    """How many words a text has: the length of Python's ``str.split()`` of it, null for null."""
    return text.str.count_matches(_WORD)
