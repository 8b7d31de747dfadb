"""What was planted against what a run's ledger says."""

from __future__ import annotations

import polars as pl

from pairmill.pipeline.demo.faults import KEPT


def truth_table(truth: pl.DataFrame, ledger: pl.DataFrame) -> pl.DataFrame:
    """One line for each planted kind: how many of its rows ended as they should.

    ``truth`` has ``row``, ``planted`` and ``expect`` (a reason, ``kept``, or several joined by "|" of which any will
    do); ``ledger`` has ``row`` and ``reason`` (null or ``kept`` where the row was kept). The result has ``planted``
    ("" for good pairs, which come first, then by name), ``expect``, ``rows``, ``as_expected``, ``otherwise`` and
    ``instead`` (the other outcomes with their counts, most frequent first, such as "kept 2, timeout 1"). Raises
    ValueError unless both name the same rows, each once.
    """
    for name, frame in (("truth", truth), ("ledger", ledger)):
        if frame["row"].n_unique() != frame.height:
            raise ValueError(f"the {name} names a row twice")
    if set(truth["row"]) != set(ledger["row"]):
        raise ValueError(f"truth and ledger name different rows ({truth.height} and {ledger.height})")
    outcome = ledger.select(pl.col("row").cast(pl.UInt64), pl.col("reason").fill_null(KEPT).alias("outcome"))
    as_expected = pl.col("expect").str.split("|").list.contains(pl.col("outcome"))
    joined = (
        truth.with_columns(pl.col("row").cast(pl.UInt64)).join(outcome, on="row").with_columns(as_expected=as_expected)
    )
    return (
        joined.group_by("planted", "expect")
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("as_expected").sum().cast(pl.Int64),
            (~pl.col("as_expected")).sum().cast(pl.Int64).alias("otherwise"),
            pl.col("outcome").filter(~pl.col("as_expected")).alias("instead"),
        )
        .with_columns(pl.col("instead").map_elements(_tally, return_dtype=pl.String, skip_nulls=False))
        .sort("planted", "expect")
    )


def _tally(outcomes: pl.Series) -> str:
    counts = outcomes.rename("outcome").value_counts(name="count").sort(["count", "outcome"], descending=[True, False])
    return ", ".join(f"{outcome} {count}" for outcome, count in counts.iter_rows())
