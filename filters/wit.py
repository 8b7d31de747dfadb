"""The rules of WIT, pairs of images and texts of Wikipedia in 108 languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.caption_phrases import CaptionPhrases
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.column_values import ColumnValues
from pairmill.filters.image_size import ImageSize
from pairmill.filters.rule import Rule
from pairmill.filters.rule_set import RuleSet

#: What no alt-text may hold, as far as the paper lists it.
GENERIC_ALT_TEXT = (".png", ".jpg", "icon", "stub", "refer to", "alt text")


@dataclass(frozen=True, kw_only=True)
class Wit(RuleSet):
    """Images with both sides of at least 100 pixels, texts of at least 3 characters, no generic alt-texts.

    ``alt_text``: whether the captions are alt-texts, which must not hold a generic phrase. ``licences`` with
    ``licence_column``: those that permit research. ``pairs_of_language``: the column with how many pairs the row's
    language has (at least 12,000). Left out where false or None.
    """

    name: ClassVar[str] = "wit"
    source: ClassVar[str] = "WIT (Srinivasan et al. 2021, arXiv:2103.01913, section 3)"

    alt_text: bool = False
    licences: tuple[str, ...] | None = None
    licence_column: str = "license"
    pairs_of_language: str | None = None

    def rules(self) -> tuple[Rule, ...]:
        """The text, then the image."""
        found: list[Rule] = [CaptionLength(min_words=None, min_chars=3)]
        if self.alt_text:
            found.append(CaptionPhrases(contains=GENERIC_ALT_TEXT))
        if self.licences is not None:
            found.append(ColumnValues(column=self.licence_column, keep=self.licences))
        if self.pairs_of_language is not None:
            found.append(ColumnRange(column=self.pairs_of_language, at_least=12_000))
        return (*found, ImageSize(min_side=100, max_aspect=None))
