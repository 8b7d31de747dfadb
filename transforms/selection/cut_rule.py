"""A selection over the whole pool as a rule, so that it judges where the pool's own columns do: before the fetch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.rule import Rejection, Rule
from pairmill.transforms.selection.settings import Selection


@dataclass(frozen=True, kw_only=True)
class CutRule(Rule):
    """Keeps what the selection number ``number`` of a recipe keeps, by a Boolean column that is made of its cut.

    The column is null where a row has no value to be selected by.
    """

    name: ClassVar[str] = "select"
    source: ClassVar[str] = "the recipe's section select"
    reasons: ClassVar[tuple[str, ...]] = ("<column>_not_selected",)

    number: int
    selection: Selection

    @property
    def column(self) -> str:
        """The name of the column, which no pool has."""
        return f"selection {self.number}"

    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """No value; a value beyond the cut."""
        kept = pl.col(self.column)
        beyond = Rejection(self.selection.reason, ~kept)
        if self.selection.missing == "keep":
            return (beyond,)
        return (Rejection(self.selection.missing_reason, kept.is_null()), beyond)
