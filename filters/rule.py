"""What a rule is: a frozen dataclass whose fields are its parameters, and which names the reason to reject a row.

A rule reads named columns and gives Polars expressions; it opens no file, holds no model and keeps no state.
``pairmill.filters.verdict`` applies rules to a table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl


@dataclass(frozen=True)
class Rejection:
    """One reason to reject a row, and the expression that is true for the rows it rejects.

    A null in ``when`` rejects nothing. A ``detail`` says why an earlier rejection came about and rejects no row by
    itself: it is told among all reasons and is never the first.
    """

    reason: str
    when: pl.Expr
    detail: bool = False


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """One named judgement. Subclasses are frozen dataclasses that check their parameters in ``__post_init__``."""

    #: The word for the rule in a recipe.
    name: ClassVar[str]
    #: The paper or the code that the defaults come from, with its section.
    source: ClassVar[str]
    #: Every reason the rule can give, apart from ``missing_<column>``; ``<column>`` stands for a column's name.
    reasons: ClassVar[tuple[str, ...]]

    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule reads, given its parameters."""

    @abstractmethod
    def rejections(self) -> tuple[Rejection, ...]:
        """The reasons to reject a row, in the order in which they are given; NaN has become null before."""

    def checks(self) -> tuple[Rejection, ...]:
        """The rejections as they are applied, with the outcome of a null."""
        return self.rejections()

    def rejects(self) -> pl.Expr:
        """Whether the rule rejects a row, for whatever reason; never null."""
        return pl.any_horizontal(
            [pl.lit(False)] + [check.when.cast(pl.Boolean).fill_null(False) for check in self.checks()]
        )

    def judges(self) -> pl.Expr:
        """Whether a row has all the values that the rule needs; where not, the outcome is that of a missing value."""
        return pl.lit(True)

    def possible_reasons(self) -> tuple[str, ...]:
        """The reasons that this rule, with these parameters, can give, in order."""
        return tuple(check.reason for check in self.checks())


@dataclass(frozen=True, kw_only=True)
class ValueRule(Rule):
    """A rule that cannot judge a row without a value in each of its columns.

    ``missing`` says what becomes of a row where one of them is null or NaN: ``reject`` rejects it for the reason
    ``missing_<column>``; ``keep`` lets it pass this rule, whatever its other columns hold.
    """

    missing: Literal["reject", "keep"] = "reject"

    def __post_init__(self) -> None:
        if self.missing not in ("reject", "keep"):
            raise ValueError(f"{self.name}: missing is {self.missing!r}; it must be 'reject' or 'keep'")
        for column in self.columns():
            check_column_name(self.name, column)

    def checks(self) -> tuple[Rejection, ...]:
        """The rejections, after the reasons for a missing value or only where no value is missing."""
        if self.missing == "reject":
            return tuple(Rejection(f"missing_{c}", pl.col(c).is_null()) for c in self.columns()) + self.rejections()
        return tuple(Rejection(r.reason, self.judges() & r.when) for r in self.rejections())

    def judges(self) -> pl.Expr:
        """Whether each of its columns has a value."""
        return pl.all_horizontal([pl.lit(True)] + [pl.col(c).is_not_null() for c in self.columns()])


def check_column_name(rule: str, column: str) -> None:
    """Refuse a name that Polars would read as a pattern: it could match other columns, or several."""
    if not isinstance(column, str) or not column:
        raise ValueError(f"{rule}: the column {column!r} is not a name")
    if column == "*" or (column.startswith("^") and column.endswith("$")):
        raise ValueError(f"{rule}: the column {column!r} is a pattern; name one column")
