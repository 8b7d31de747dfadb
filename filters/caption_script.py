"""Captions with too few or too many characters of one script."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.bounds import check_at_least, check_bounds
from pairmill.filters.caption_pattern import check_pattern
from pairmill.filters.rule import Rejection, ValueRule

_NAME = re.compile(r"[A-Za-z_]+")


@dataclass(frozen=True, kw_only=True)
class CaptionScript(ValueRule):
    """Keeps captions with ``min_chars`` to ``max_chars`` characters of ``script``, a name of Unicode's Script property.

    The defaults are Wukong's: at least one Chinese character (Han) and fewer than 32. None: no bound.
    """

    name: ClassVar[str] = "caption_script"
    source: ClassVar[str] = "Wukong (Gu et al. 2022, arXiv:2202.06767, section 3)"
    reasons: ClassVar[tuple[str, ...]] = ("caption_too_little_of_script", "caption_too_much_of_script")

    column: str = "caption"
    script: str = "Han"
    min_chars: int | None = 1
    max_chars: int | None = 31

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _NAME.fullmatch(self.script):
            raise ValueError(f"{self.name}: script is {self.script!r}; name a script of Unicode, such as Han or Latin")
        try:
            check_pattern(self.name, self._pattern())
        except ValueError as error:
            raise ValueError(
                f"{self.name}: there is no script {self.script!r} in Unicode (such as Han, Latin)"
            ) from error
        check_at_least(self.name, "min_chars", self.min_chars, 0)
        check_bounds(self.name, "min_chars", self.min_chars, "max_chars", self.max_chars)

    def columns(self) -> tuple[str, ...]:
        """The caption."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """Too few characters of the script; too many."""
        count, found = pl.col(self.column).str.count_matches(self._pattern()), []
        if self.min_chars is not None:
            found.append(Rejection("caption_too_little_of_script", count < self.min_chars))
        if self.max_chars is not None:
            found.append(Rejection("caption_too_much_of_script", count > self.max_chars))
        return tuple(found)

    def _pattern(self) -> str:
        return rf"\p{{sc={self.script}}}"
