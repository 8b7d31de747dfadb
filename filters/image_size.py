"""Images that are too small, too large or too elongated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.bounds import check_at_least, check_bounds
from pairmill.filters.rule import Rejection, ValueRule


@dataclass(frozen=True, kw_only=True)
class ImageSize(ValueRule):
    """Keeps images with sides of ``min_side`` to ``max_side`` pixels, the longer at most ``max_aspect`` the shorter.

    The ratio may meet ``max_aspect`` and must stay under ``below_aspect``, ALIGN's kind of bound. A side of zero or
    less has no area and is rejected whatever the bounds. The defaults are DataComp's ``basic_filter`` on the
    sizes before any resize: a shorter side of at least 200, at most 3 times as long.
    """

    name: ClassVar[str] = "image_size"
    source: ClassVar[str] = "DataComp basic_filter (Gadre et al. 2023, arXiv:2304.14108; baselines/apply_filter.py)"
    reasons: ClassVar[tuple[str, ...]] = ("image_empty", "image_too_small", "image_too_large", "image_too_elongated")

    min_side: int | None = 200
    max_side: int | None = None
    max_aspect: float | None = 3.0
    below_aspect: float | None = None
    width_column: str = "original_width"
    height_column: str = "original_height"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self.name, "min_side", self.min_side, 0)
        check_bounds(self.name, "min_side", self.min_side, "max_side", self.max_side)
        check_at_least(self.name, "max_side", self.max_side, 1)
        check_at_least(self.name, "max_aspect", self.max_aspect, 1)
        if self.below_aspect is not None and not self.below_aspect > 1:
            raise ValueError(f"{self.name}: below_aspect is {self.below_aspect}; it must be above 1")

    def columns(self) -> tuple[str, ...]:
        """Width and height."""
        return (self.width_column, self.height_column)

    def rejections(self) -> tuple[Rejection, ...]:
        """No area; a side too short; a side too long; too elongated."""
        width, height = pl.col(self.width_column), pl.col(self.height_column)
        shorter, longer = pl.min_horizontal(width, height), pl.max_horizontal(width, height)
        found = [Rejection("image_empty", shorter <= 0)]
        if self.min_side is not None:
            found.append(Rejection("image_too_small", shorter < self.min_side))
        if self.max_side is not None:
            found.append(Rejection("image_too_large", longer > self.max_side))
        # Divided, not multiplied, so that a ratio on the bound rounds as it does in DataComp's code.
        ratio = longer / shorter
        outside = [ratio > self.max_aspect] if self.max_aspect is not None else []
        outside += [ratio >= self.below_aspect] if self.below_aspect is not None else []
        if outside:
            found.append(Rejection("image_too_elongated", (shorter > 0) & pl.any_horizontal(outside)))
        return tuple(found)
