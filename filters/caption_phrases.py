"""Captions that hold, begin with or end in phrases that are not wanted: boilerplate, sensitive words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.listed import TEXT, TEXT_IN_ANY_CASE, Listed, listed_values
from pairmill.filters.rule import Rejection, ValueRule


@dataclass(frozen=True, kw_only=True)
class CaptionPhrases(ValueRule):
    """Rejects captions that hold a phrase of ``contains``, begin with one of ``begins``, or end in one of ``ends``.

    A phrase is any run of characters, within words too: what languages without spaces need. White space around the
    caption is left aside; ``ignore_case`` compares in lower case.
    """

    name: ClassVar[str] = "caption_phrases"
    source: ClassVar[str] = "no defaults: the recipe names the phrases"
    reasons: ClassVar[tuple[str, ...]] = (
        "caption_has_phrase",
        "caption_begins_with_phrase",
        "caption_ends_with_phrase",
    )

    column: str = "caption"
    contains: Listed = ()
    begins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    ignore_case: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("contains", "begins", "ends"):
            listed = getattr(self, name)
            if isinstance(listed, str) or (isinstance(listed, tuple) and not all(phrase for phrase in listed)):
                raise ValueError(f"{self.name}: {name} is {listed!r}; it must be a list of phrases")
        if not (self.contains or self.begins or self.ends):
            raise ValueError(f"{self.name}: give contains, begins or ends")

    def columns(self) -> tuple[str, ...]:
        """The caption."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """A phrase within; at the beginning; at the end."""
        caption, found = self._compared(pl.col(self.column).str.strip_chars()), []
        if self.contains:
            phrases = listed_values(self.contains, TEXT_IN_ANY_CASE if self.ignore_case else TEXT).to_list()
            found.append(Rejection("caption_has_phrase", caption.str.contains_any(phrases)))
        if self.begins:
            starts = [caption.str.starts_with(self._compared(pl.lit(phrase))) for phrase in self.begins]
            found.append(Rejection("caption_begins_with_phrase", pl.any_horizontal(starts)))
        if self.ends:
            stops = [caption.str.ends_with(self._compared(pl.lit(phrase))) for phrase in self.ends]
            found.append(Rejection("caption_ends_with_phrase", pl.any_horizontal(stops)))
        return tuple(found)

    def _compared(self, text: pl.Expr) -> pl.Expr:
        return text.str.to_lowercase() if self.ignore_case else text
