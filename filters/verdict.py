"""Rules applied to a table: the first reason to reject each row, or all of them.

Everything is vectorised; rules with expressions in common (a caption's number of words) share their work.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import polars.selectors as cs

from pairmill.filters.rule import Rejection, Rule


def first_reason(rules: Sequence[Rule], frame: pl.DataFrame) -> pl.Series:
    """Why each row is rejected: the first reason of the first rule, in the order of ``rules``, that rejects it.

    The series ``reason`` has one entry a row, null where the row is kept. Its type is an Enum of all the reasons
    that these rules can give, so that it depends on the rules and not on the rows. Raises ValueError when a rule
    needs a column that the table lacks, or whose type it cannot judge.
    """
    checks, needed = _checks_on(rules, frame)
    dtype = pl.Enum(list(dict.fromkeys(check.reason for check in checks)))
    reason = pl.lit(None, dtype=dtype)
    # Built from the last check to the first, so that the outermost condition is the first one.
    for check in reversed([check for check in checks if not check.detail]):
        reason = pl.when(check.when).then(pl.lit(check.reason, dtype=dtype)).otherwise(reason)
    return needed.lazy().select(_row_number(needed), reason=reason).collect()["reason"]


def all_reasons(rules: Sequence[Rule], frame: pl.DataFrame) -> pl.Series:
    """Every reason to reject each row: a list in the order of the rules, each reason once, empty where it is kept.

    Costs more than ``first_reason``; for a report of what each rule rejects by itself. Raises as ``first_reason``.
    """
    checks, needed = _checks_on(rules, frame)
    dtype = pl.Enum(list(dict.fromkeys(check.reason for check in checks)))
    if not checks:
        return pl.Series("reasons", [[]] * frame.height, dtype=pl.List(dtype))
    given = [pl.when(check.when).then(pl.lit(check.reason, dtype=dtype)) for check in checks]
    listed = pl.concat_list(given).list.drop_nulls().list.unique(maintain_order=True)
    return needed.lazy().select(_row_number(needed), reasons=listed).collect()["reasons"]


def needed_columns(rules: Sequence[Rule]) -> tuple[str, ...]:
    """The columns that the rules read together, each once, in the order of their first use."""
    return tuple(dict.fromkeys(column for rule in rules for column in rule.columns()))


def _checks_on(rules: Sequence[Rule], frame: pl.DataFrame) -> tuple[list[Rejection], pl.DataFrame]:
    """The checks of all rules, and the columns they need with NaN read as null."""
    for rule in rules:
        _check_schema(rule, frame)
    needed = frame.select(needed_columns(rules)).with_columns(cs.float().fill_nan(None))
    if not needed.width:  # a table without columns has no rows either
        needed = frame
    checks = [check for rule in rules for check in rule.checks()]
    return [Rejection(check.reason, check.when.cast(pl.Boolean), check.detail) for check in checks], needed


def _check_schema(rule: Rule, frame: pl.DataFrame) -> None:
    """Try the rule on the table without its rows: types that do not fit show themselves there."""
    for column in rule.columns():
        if column not in frame.columns:
            held = ", ".join(frame.columns) or "none"
            raise ValueError(f"rule {rule.name} needs the column {column!r}, which the table lacks (it has: {held})")
    empty = frame.clear().with_columns(cs.float().fill_nan(None))
    types = ", ".join(f"{column}: {frame.schema[column]}" for column in rule.columns())
    try:
        results = [empty.select(check.when.alias("when")).to_series() for check in rule.checks()]
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"rule {rule.name} cannot judge {types}: {str(error).splitlines()[0]}") from error
    if any(result.dtype not in (pl.Boolean, pl.Null) for result in results):
        raise ValueError(f"rule {rule.name} gives no yes or no on {types}")


def _row_number(frame: pl.DataFrame) -> pl.Expr:
    """A column as long as the table: a condition on no column at all (a literal) is stretched to it."""
    return pl.int_range(frame.height, dtype=pl.Int64).alias("row")
