"""Captions by their words: at least one that is listed, none that is, or none that is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.listed import TEXT, TEXT_IN_ANY_CASE, WORD, Listed, table_of
from pairmill.filters.rule import Rejection, ValueRule


@dataclass(frozen=True, kw_only=True)
class CaptionWords(ValueRule):
    """Keeps captions with a word of ``require``, without a word of ``reject``, and of no words but those of ``known``.

    Words are what Python's ``str.split()`` gives, punctuation and all; ``ignore_case`` compares them in lower case.
    ``known_pairs``: each two words side by side must be in ``known`` as well, written with one space between.
    """

    name: ClassVar[str] = "caption_words"
    source: ClassVar[str] = "no defaults: the recipe names the lists"
    reasons: ClassVar[tuple[str, ...]] = (
        "caption_without_required_word",
        "caption_has_rejected_word",
        "caption_has_unknown_word",
    )

    column: str = "caption"
    require: Listed | None = None
    reject: Listed | None = None
    known: Listed | None = None
    known_pairs: bool = False
    ignore_case: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        lists = (self.require, self.reject, self.known)
        if all(values is None for values in lists):
            raise ValueError(f"{self.name}: give require, reject or known: a list, or {{file: PATH}}")
        if any(isinstance(values, str) for values in lists):
            raise ValueError(f"{self.name}: a list of words is written [WORD, WORD] or {{file: PATH}}")
        if self.known_pairs and self.known is None:
            raise ValueError(f"{self.name}: known_pairs asks for known, the list of words and pairs")

    def columns(self) -> tuple[str, ...]:
        """The caption."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """No word that is required; a word to reject; a word, or a pair of words, that is unknown."""
        words, found = self._words(), []
        if self.require is not None:
            found.append(Rejection("caption_without_required_word", self._listed(words, self.require) == 0))
        if self.reject is not None:
            found.append(Rejection("caption_has_rejected_word", self._listed(words, self.reject) > 0))
        if self.known is not None:
            unknown = self._listed(words, self.known) < words.list.len()
            if self.known_pairs:
                pairs = words.list.eval(pl.element() + " " + pl.element().shift(-1)).list.drop_nulls()
                unknown |= self._listed(pairs, self.known) < pairs.list.len()
            found.append(Rejection("caption_has_unknown_word", unknown))
        return tuple(found)

    def _words(self) -> pl.Expr:
        caption = pl.col(self.column)
        return (caption.str.to_lowercase() if self.ignore_case else caption).str.extract_all(WORD)

    def _listed(self, words: pl.Expr, values: Listed) -> pl.Expr:
        return table_of(values, TEXT_IN_ANY_CASE if self.ignore_case else TEXT).count(words)
