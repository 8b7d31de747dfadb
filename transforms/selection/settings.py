"""What a selection keeps: a share or a number of rows, the best by one column."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Keeps the rows that come first by ``column``: a ``fraction`` of them, or ``rows`` of them.

    ``of``: among which rows the cut lies, and of which the fraction is a share: ``alive`` are those that nothing else
    rejects, ``pool`` every row of the pool (as DataComp's clip_score baselines count); rows without a value count too.
    ``by``: a column for each of whose values the selection is made apart (a language, a source); ``rows`` is then the
    number for each. ``first``: whether ``highest`` or ``lowest`` values come first. ``ties``: ``shuffled`` keeps
    exactly as many as asked, equal values in an order of their uids that the seed fixes, so that a smaller budget is
    contained in a larger one of the same seed; ``kept`` keeps every row as good as the last one kept; ``datacomp`` is
    the rule of DataComp's code, which keeps every row as good as the first one beyond the fraction. ``missing``: rows
    without a value are rejected (``reject``), or kept beyond the number (``keep``).
    """

    column: str
    fraction: float | None = None
    rows: int | None = None
    of: Literal["alive", "pool"] = "alive"
    by: str | None = None
    first: Literal["highest", "lowest"] = "highest"
    ties: Literal["shuffled", "kept", "datacomp"] = "shuffled"
    missing: Literal["reject", "keep"] = "reject"

    def __post_init__(self) -> None:
        if not self.column:
            raise ValueError("column: name the column to select by")
        if (self.fraction is None) == (self.rows is None):
            raise ValueError(f"{self.column}: give one of fraction and rows")
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction must be from 0 to 1, not {self.fraction}")
        if self.rows is not None and self.rows < 0:
            raise ValueError(f"rows must be at least 0, not {self.rows}")

    @property
    def reason(self) -> str:
        """Why a row that comes too late is rejected."""
        return f"{self.column}_not_selected"

    @property
    def missing_reason(self) -> str:
        """Why a row without a value is rejected."""
        return f"missing_{self.column}"

    def wanted(self, rows: int) -> int:
        """How many of ``rows`` rows are asked for.

        A fraction is taken as it is written (0.29 of 100 is 29); DataComp's multiplies binary numbers (28).
        """
        if self.fraction is None:
            return min(self.rows or 0, rows)
        if self.ties == "datacomp":
            return int(rows * self.fraction)
        return int(Fraction(str(self.fraction)) * rows)
