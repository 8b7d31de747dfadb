"""Captions by their capital letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.bounds import check_bounds
from pairmill.filters.caption_length import word_count
from pairmill.filters.rule import Rejection, ValueRule

_CAPITAL = r"[\p{Lu}\p{Lt}]"


@dataclass(frozen=True, kw_only=True)
class CaptionCase(ValueRule):
    """Keeps captions whose first character after white space is a capital letter, with few words that begin so.

    ``first_word``: whether the first is asked for; ``max_capital_words`` bounds the share of words that begin with a
    capital (None: no bound). Conceptual Captions asks for both and names no number for the second.
    """

    name: ClassVar[str] = "caption_case"
    source: ClassVar[str] = "Conceptual Captions (Sharma et al. 2018, ACL P18-1238, section 3, text-based filtering)"
    reasons: ClassVar[tuple[str, ...]] = ("caption_not_capitalised", "caption_too_capitalised")

    column: str = "caption"
    first_word: bool = True
    max_capital_words: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self.name, "0", 0, "max_capital_words", self.max_capital_words)
        check_bounds(self.name, "max_capital_words", self.max_capital_words, "1", 1)

    def columns(self) -> tuple[str, ...]:
        """The caption."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """The first word is not capitalised; too many words are."""
        caption, found = pl.col(self.column), []
        if self.first_word:
            found.append(Rejection("caption_not_capitalised", ~caption.str.contains(rf"^[\s\x1c-\x1f]*{_CAPITAL}")))
        if self.max_capital_words is not None:
            words = word_count(caption)
            capital = caption.str.count_matches(rf"(?:^|[\s\x1c-\x1f]){_CAPITAL}")
            found.append(Rejection("caption_too_capitalised", (words > 0) & (capital / words > self.max_capital_words)))
        return tuple(found)
