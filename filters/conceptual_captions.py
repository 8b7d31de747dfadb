"""The rules of Conceptual Captions, CC3M and CC12M, as far as their papers give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pairmill.filters.caption_case import CaptionCase
from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.caption_phrases import CaptionPhrases
from pairmill.filters.caption_repetition import CaptionRepetition
from pairmill.filters.caption_words import CaptionWords
from pairmill.filters.column_values import ColumnValues
from pairmill.filters.image_size import ImageSize
from pairmill.filters.listed import Listed
from pairmill.filters.rule import Rule
from pairmill.filters.rule_set import RuleSet

#: The paper's two examples of texts that are dropped for how they begin or end; its whole list is not published.
BOILERPLATE = ("embedded image permalink", "profile photo")


@dataclass(frozen=True, kw_only=True)
class CC3M(RuleSet):
    """JPEG images larger than 400 pixels with an aspect of at most 2; captions that begin with a capital.

    ``vocabulary``: the words that occur at least 5 times in the English Wikipedia, to which every word must belong.
    ``max_capital_words`` and ``max_repeated``: shares for which the paper asks without a number. Left out where None.
    """

    name: ClassVar[str] = "cc3m"
    source: ClassVar[str] = "Conceptual Captions (Sharma et al. 2018, ACL P18-1238, section 3)"

    vocabulary: Listed | None = None
    max_capital_words: float | None = None
    max_repeated: float | None = None
    format_column: str = "source_format"

    def rules(self) -> tuple[Rule, ...]:
        """Format and size of the image, then the text."""
        found: list[Rule] = [
            CaptionCase(max_capital_words=self.max_capital_words),
            CaptionPhrases(begins=BOILERPLATE, ends=BOILERPLATE),
        ]
        if self.max_repeated is not None:
            found.append(CaptionRepetition(max_repeated=self.max_repeated))
        if self.vocabulary is not None:
            found.append(CaptionWords(known=self.vocabulary))
        return (*found, *_image(self.format_column, max_aspect=2.0))


@dataclass(frozen=True, kw_only=True)
class CC12M(RuleSet):
    """CC3M relaxed: an aspect of at most 2.5, 3 to 256 words of which at most a fifth repeat, capitals as they come.

    ``vocabulary``: the words that occur at least 20 times (where CC3M asks for 5); left out where None.
    """

    name: ClassVar[str] = "cc12m"
    source: ClassVar[str] = "CC12M (Changpinyo et al. 2021, arXiv:2102.08981, section 2.2)"

    vocabulary: Listed | None = None
    format_column: str = "source_format"

    def rules(self) -> tuple[Rule, ...]:
        """The text, then format and size of the image."""
        found: list[Rule] = [
            CaptionLength(min_words=3, max_words=256, min_chars=None),
            CaptionRepetition(max_repeated=0.2),
            CaptionPhrases(begins=BOILERPLATE, ends=BOILERPLATE),
        ]
        if self.vocabulary is not None:
            found.append(CaptionWords(known=self.vocabulary))
        return (*found, *_image(self.format_column, max_aspect=2.5))


def _image(format_column: str, max_aspect: float) -> tuple[Rule, ...]:
    return (ColumnValues(column=format_column, keep=("JPEG",)), ImageSize(min_side=401, max_aspect=max_aspect))
