"""Captions in other languages than those wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.bounds import check_bounds
from pairmill.filters.rule import Rejection, ValueRule


@dataclass(frozen=True, kw_only=True)
class Language(ValueRule):
    """Keeps captions whose language is one of ``keep``, and is known with at least ``min_confidence``.

    Languages are the codes of the identifier that made the column: fastText's lid.176 writes ISO 639-1 where there
    is such a code (``en``, ``zh``), else ISO 639-3 (``arz``). The default is DataComp's ``basic_filter``: English
    and no confidence asked for.
    """

    name: ClassVar[str] = "language"
    source: ClassVar[str] = "DataComp basic_filter (Gadre et al. 2023, arXiv:2304.14108; baselines/apply_filter.py)"
    reasons: ClassVar[tuple[str, ...]] = ("language_not_kept", "language_uncertain")

    keep: tuple[str, ...] = ("en",)
    min_confidence: float | None = None
    column: str = "lang"
    confidence_column: str = "lang_confidence"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.keep, str) or not self.keep or not all(isinstance(k, str) and k for k in self.keep):
            raise ValueError(f"{self.name}: keep is {self.keep!r}; it must list at least one language code")
        check_bounds(self.name, "min_confidence", self.min_confidence, "the highest confidence", 1.0)

    def columns(self) -> tuple[str, ...]:
        """The language, and its confidence where one is asked for."""
        return (self.column,) if self.min_confidence is None else (self.column, self.confidence_column)

    def rejections(self) -> tuple[Rejection, ...]:
        """Another language; a language known too weakly."""
        other = Rejection("language_not_kept", ~pl.col(self.column).is_in(list(self.keep)))
        if self.min_confidence is None:
            return (other,)
        return (other, Rejection("language_uncertain", pl.col(self.confidence_column) < self.min_confidence))
