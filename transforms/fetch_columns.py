"""The columns that the fetch commits: one row for each image that was asked for."""

from __future__ import annotations

import polars as pl

from pairmill.sharding.pair import IMAGE_COLUMNS

FETCH_COLUMNS: dict[str, pl.DataType] = {
    "row_id": pl.UInt64(),
    "status": pl.String(),
    "status_detail": pl.String(),
    "attempts": pl.Int32(),
    "fetch_seconds": pl.Float64(),
    **IMAGE_COLUMNS,
    "spool": pl.String(),  # the tar that holds the stored bytes, relative to the step's spool folder
    "spool_offset": pl.Int64(),  # of the bytes themselves; null where status is not ok
}

#: What a row gets that shares its URL with another one, and what judgement needs.
SHARED_COLUMNS = [name for name in FETCH_COLUMNS if name not in ("attempts", "fetch_seconds")]
