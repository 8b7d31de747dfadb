"""How much one column is above another: two similarities of one pair, a size before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.bounds import check_bounds
from pairmill.filters.rule import Rejection, ValueRule


@dataclass(frozen=True, kw_only=True)
class ColumnDifference(ValueRule):
    """Keeps rows with ``at_least`` <= ``column`` - ``minus`` <= ``at_most``, two numeric columns of one scale.

    The similarity of a caption to the image less its similarity to the mirrored image is the cheap test for a caption
    that is written in the picture: mirrored, writing cannot be read, and a scene looks much the same.
    """

    name: ClassVar[str] = "column_difference"
    source: ClassVar[str] = "no defaults: mirrored similarity is of Yu et al. 2023, arXiv:2309.15954"
    reasons: ClassVar[tuple[str, ...]] = ("<column>_difference_too_low", "<column>_difference_too_high")

    column: str
    minus: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"{self.name}: {self.column!r} less {self.minus!r} needs at_least, at_most or both")
        if self.column == self.minus:
            raise ValueError(f"{self.name}: {self.column!r} less itself is 0; name two columns")
        check_bounds(self.name, "at_least", self.at_least, "at_most", self.at_most)

    def columns(self) -> tuple[str, ...]:
        """The two columns."""
        return (self.column, self.minus)

    def rejections(self) -> tuple[Rejection, ...]:
        """Too low; too high."""
        # Small whole numbers without a sign would begin anew below 0.
        value, found = pl.col(self.column).cast(pl.Float64) - pl.col(self.minus).cast(pl.Float64), []
        if self.at_least is not None:
            found.append(Rejection(f"{self.column}_difference_too_low", value < self.at_least))
        if self.at_most is not None:
            found.append(Rejection(f"{self.column}_difference_too_high", value > self.at_most))
        return tuple(found)
