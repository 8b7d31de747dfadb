"""The verdict of a row as far as its own columns tell: pure functions over frames.

Order is fixed, so that a row's reason does not depend on what else lies in the work folder: the pool row itself,
then the rules whose columns are known before the fetch, then the fetch, then the rules that need the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pairmill.filters.rule import Rule
from pairmill.filters.verdict import first_reason

READ, RULES, FETCH, DUPLICATES = "read", "rules", "fetch", "duplicates"
STAGES = pl.Enum([READ, RULES, FETCH, DUPLICATES])

#: A verdict while it grows: null stage and reason for the rows still alive.
VERDICT_COLUMNS: dict[str, pl.DataType] = {
    "row_id": pl.UInt64(),
    "stage": STAGES,
    "reason": pl.String(),
    "survivor": pl.UInt64(),
}


def early_rules(rules: Sequence[Rule], columns: Sequence[str]) -> tuple[Rule, ...]:
    """The rules that can be decided with these columns, in the recipe's order."""
    present = set(columns)
    return tuple(rule for rule in rules if present.issuperset(rule.columns()))


def judge_before_fetch(described: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """Verdicts from what is known without the image; columns as in VERDICT_COLUMNS, one row a pool row."""
    error = described.get_column("row_error").str.split(":").list.first()
    reason = _reasons(early_rules(rules, described.columns), described)
    return pl.DataFrame({"row_id": described.get_column("row_id"), "error": error, "rule": reason}).select(
        "row_id",
        stage=pl.when(pl.col("error").is_not_null())
        .then(pl.lit(READ))
        .when(pl.col("rule").is_not_null())
        .then(pl.lit(RULES))
        .cast(STAGES),
        reason=pl.coalesce("error", "rule"),
        survivor=pl.lit(None, dtype=pl.UInt64),
    )


def judge_after_fetch(
    described: pl.DataFrame, fetched: pl.DataFrame, verdicts: pl.DataFrame, rules: Sequence[Rule]
) -> pl.DataFrame:
    """Verdicts with the fetch and the rules that need it added to ``verdicts``.

    ``fetched`` has a row for every pool row (null status where none was asked for); its columns win over the pool's of
    the same name: what was measured is what is true of the stored image.
    """
    early = set(early_rules(rules, described.columns))
    late = [rule for rule in rules if rule not in early]
    fresh = fetched.drop("row_id")
    frame = described.drop([name for name in fresh.columns if name in described.columns]).hstack(fresh)
    reason = _reasons(late, frame)
    status = frame.get_column("status")
    return verdicts.with_columns(status=status, rule=reason).select(
        "row_id",
        stage=pl.when(pl.col("stage").is_not_null())
        .then(pl.col("stage"))
        .when(pl.col("status") != "ok")
        .then(pl.lit(FETCH, dtype=STAGES))
        .when(pl.col("rule").is_not_null())
        .then(pl.lit(RULES, dtype=STAGES)),
        reason=pl.coalesce("reason", pl.when(pl.col("status") != "ok").then("status"), "rule"),
        survivor="survivor",
    )


def _reasons(rules: Sequence[Rule], frame: pl.DataFrame) -> pl.Series:
    return first_reason(rules, frame).cast(pl.String)
