"""The rules of ALIGN: light cleaning of alt-texts at the scale of billions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.caption_words import CaptionWords
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.image_size import ImageSize
from pairmill.filters.listed import Listed
from pairmill.filters.rule import Rule
from pairmill.filters.rule_set import RuleSet


@dataclass(frozen=True, kw_only=True)
class Align(RuleSet):
    """Images larger than 200 pixels with an aspect below 3, texts of 3 to 20 words, and no frequent or rare text.

    What the paper counts over its raw data is asked for by name, and left out where it is not given:
    ``frequent``: a list of the 100 million most frequent words and pairs of words, to which every word and pair must
    belong; ``images_of_caption``: the column with the number of images that share the caption (at most 10);
    ``captions_of_image``: the one with the number of texts of the image (at most 1,000).
    """

    name: ClassVar[str] = "align"
    source: ClassVar[str] = "ALIGN (Jia et al. 2021, arXiv:2102.05918, section 3)"

    frequent: Listed | None = None
    images_of_caption: str | None = None
    captions_of_image: str | None = None

    def rules(self) -> tuple[Rule, ...]:
        """Texts, images, and what is frequent as far as it is given."""
        found: list[Rule] = [
            CaptionLength(min_words=3, max_words=20, min_chars=None),
            ImageSize(min_side=201, max_aspect=None, below_aspect=3.0),
        ]
        if self.frequent is not None:
            found.append(CaptionWords(known=self.frequent, known_pairs=True))
        if self.images_of_caption is not None:
            found.append(ColumnRange(column=self.images_of_caption, at_most=10))
        if self.captions_of_image is not None:
            found.append(ColumnRange(column=self.captions_of_image, at_most=1000))
        return tuple(found)
