"""The columns of a batch of blocks, joined from the steps that measured them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import polars as pl

from pairmill.sharding.commit_log import Commit
from pairmill.sharding.pair import MAX_BLOCK_ROWS, ROW_BITS, row_ids
from pairmill.transforms.fetch_columns import FETCH_COLUMNS
from pairmill.transforms.job import Job
from pairmill.transforms.spool import is_dropped


def read_rows(job: Job, blocks: Sequence[int], moment: str) -> pl.DataFrame:
    """What every pool row has before the fetch, in order: ``row_id``, the pool's columns, the language, counts."""
    commits = [job.pool_store.snapshot(moment)[block][0] for block in blocks]
    pool = job.pool_store.read(commits)
    ids = np.concatenate([row_ids(commit.block, commit.rows) for commit in commits])
    frame = pool.with_columns(pl.Series("row_id", ids, dtype=pl.UInt64))
    if job.language is not None:
        language = job.language_store.read([job.language_store.snapshot(moment)[block][0] for block in blocks])
        # A pool may have a lang_confidence without a lang: nothing of a pool is lost to a name of ours.
        frame = _set_aside(frame, language.columns).with_columns(language.get_columns())
    if job.counts:
        counts = job.count_store.read([job.count_store.snapshot(moment)[block][0] for block in blocks], job.counts)
        frame = frame.with_columns(counts.get_columns())
    return _set_aside(frame, [name for run in job.scorers for name in run.columns()])


def _set_aside(pool: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The pool's own columns of these names become ``pool_NAME``: the measured ones are to have the names."""
    return pool.rename({name: f"pool_{name}" for name in names if name in pool.columns})


def read_fetched(
    job: Job, blocks: Sequence[int], moment: str, columns: Sequence[str] = tuple(FETCH_COLUMNS)
) -> pl.DataFrame:
    """What was fetched for the blocks' rows so far: ``row_id`` and the fetch columns, one row a fetched image."""
    snapshot = job.fetch_store.snapshot(moment)
    return read_parts(job, [commit for block in blocks for commit in snapshot.get(block, [])], columns)


def read_parts(job: Job, parts: Sequence[Commit], columns: Sequence[str]) -> pl.DataFrame:
    """The named fetch columns of committed parts, one after another; without images that were dropped since."""
    if not parts:
        return pl.DataFrame(schema={name: FETCH_COLUMNS[name] for name in columns})
    if not any(map(is_dropped, parts)):
        return job.fetch_store.read(parts, columns)
    frames = []
    for dropped, some in groupby(parts, is_dropped):
        frame = job.fetch_store.read(list(some), [*columns, "status"] if "status" not in columns else columns)
        frames.append((frame.filter(pl.col("status") != "ok") if dropped else frame).select(columns))
    return pl.concat(frames)


def of_block(frame: pl.DataFrame, block: int) -> pl.DataFrame:
    """The rows of one block in a frame that is sorted by ``row_id``."""
    return of_blocks(frame, block, block)


def of_blocks(frame: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    """The rows of blocks ``first`` to ``last`` in a frame that is sorted by ``row_id``: a slice, found by bisection."""
    ids = frame.get_column("row_id").to_numpy()
    bounds = np.array([first << ROW_BITS, (last << ROW_BITS) + MAX_BLOCK_ROWS], dtype=np.uint64)
    start, stop = np.searchsorted(ids, bounds)
    return frame[int(start) : int(stop)]
