"""A number outside its bounds: a score, a size, anything a column holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.bounds import check_bounds
from pairmill.filters.rule import Rejection, ValueRule


@dataclass(frozen=True, kw_only=True)
class ColumnRange(ValueRule):
    """Keeps rows with ``at_least`` <= value <= ``at_most`` in one numeric column.

    A threshold means something only with the model and the scale of the column it bounds: 0.28 is LAION's for CLIP
    ViT-B/32 cosine similarity and keeps far fewer pairs on ViT-L/14. Hence no defaults. A bound is rounded to the
    column's own precision first, as numpy and DataComp do: the float32 nearest to 0.28 passes ``at_least: 0.28``.
    """

    name: ClassVar[str] = "column_range"
    source: ClassVar[str] = "no defaults: name the model and the scale of the column beside the bounds"
    reasons: ClassVar[tuple[str, ...]] = ("<column>_too_low", "<column>_too_high")

    column: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"{self.name}: the column {self.column!r} needs at_least, at_most or both")
        check_bounds(self.name, "at_least", self.at_least, "at_most", self.at_most)

    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """Too low; too high."""
        found = []
        if self.at_least is not None:
            found.append(Rejection(f"{self.column}_too_low", pl.col(self.column) < self.at_least))
        if self.at_most is not None:
            found.append(Rejection(f"{self.column}_too_high", pl.col(self.column) > self.at_most))
        return tuple(found)
