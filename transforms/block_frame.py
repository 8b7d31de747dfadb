"""The columns of one block, joined from the steps that measured them."""

from __future__ import annotations

import polars as pl

from pairmill.sharding.commit_log import Commit
from pairmill.sharding.pair import row_ids
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.fetch_columns import FETCH_COLUMNS
from pairmill.transforms.job import Job


def read_described(job: Job, block: int, moment: str) -> pl.DataFrame:
    """Everything known before the fetch: ``row_id``, the pool's columns, the language; one row a pool row, in order."""
    pool = job.pool_store.read(job.pool_store.snapshot(moment)[block][0])
    frame = pool.with_columns(pl.Series("row_id", row_ids(block, pool.height), dtype=pl.UInt64))
    if job.language is not None:
        language = job.language_store.read(job.language_store.snapshot(moment)[block][0])
        frame = frame.with_columns(language.get_columns())
    return frame


def read_fetched(job: Job, block: int, moment: str) -> pl.DataFrame:
    """What was fetched for a block's rows so far: ``row_id`` and the fetch columns, one row a fetched image."""
    return read_parts(job.fetch_store, job.fetch_store.snapshot(moment).get(block, []), list(FETCH_COLUMNS))


def read_parts(store: StepStore, parts: list[Commit], columns: list[str]) -> pl.DataFrame:
    """The committed parts of one block, one after another, with the schema of the fetch columns."""
    frames = [store.read(part, columns) for part in parts]
    if not frames:
        return pl.DataFrame(schema={name: FETCH_COLUMNS[name] for name in columns})
    return pl.concat(frames)
