"""The rules of Wukong, 100 million Chinese pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pairmill.filters.caption_pattern import CaptionPattern
from pairmill.filters.caption_phrases import CaptionPhrases
from pairmill.filters.caption_script import CaptionScript
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.image_size import ImageSize
from pairmill.filters.listed import Listed
from pairmill.filters.rule import Rule
from pairmill.filters.rule_set import RuleSet

#: A caption that is nothing but the name of an image file; the paper's example is 000.jpg.
FILE_NAME = r"^\s*\S+\.(?i:jpe?g|png|gif|bmp|webp|tiff?)\s*$"


@dataclass(frozen=True, kw_only=True)
class Wukong(RuleSet):
    """Images larger than 200 pixels with an aspect of at most 3; 1 to 31 Chinese characters; no file names.

    ``sensitive``: a list of words that no text may hold; ``repeats_of_caption``: the column with how often the text
    occurs in the whole corpus (at most 10). Left out where None.
    """

    name: ClassVar[str] = "wukong"
    source: ClassVar[str] = "Wukong (Gu et al. 2022, arXiv:2202.06767, section 3)"

    sensitive: Listed | None = None
    repeats_of_caption: str | None = None

    def rules(self) -> tuple[Rule, ...]:
        """The text, then the image."""
        found: list[Rule] = [
            CaptionScript(script="Han", min_chars=1, max_chars=31),
            CaptionPattern(reject=(FILE_NAME,)),
        ]
        if self.sensitive is not None:
            found.append(CaptionPhrases(contains=self.sensitive))
        if self.repeats_of_caption is not None:
            found.append(ColumnRange(column=self.repeats_of_caption, at_most=10))
        return (*found, ImageSize(min_side=201, max_aspect=3.0))
