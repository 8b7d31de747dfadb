"""The first step: the pool, block by block, into column files of one schema."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import polars as pl

from pairmill.sharding.commit_log import Commit
from pairmill.sharding.pair import block_number
from pairmill.transforms.job import Job
from pairmill.transforms.lanes import lay_lanes, save_lanes
from pairmill.transforms.pool.digest import digest_block
from pairmill.transforms.pool.read import Segment, read_segment

#: So many blocks share one column file, from the first: fewer files for a large pool.
BLOCKS_PER_FILE = 16


def read_pool_segment(job: Job, segment: Segment) -> None:
    """Commit the blocks of one segment that no earlier run committed."""
    first = block_number(segment.file, segment.first_block)
    # The segments' log is read before the blocks': a segment that it ends has all its blocks in the other.
    end = job.segment_store.snapshot("start").get(first)
    known = job.pool_store.snapshot("start")
    if end is not None:
        return
    count = 0
    started = time.monotonic()
    for frames in _groups(read_segment(job.pool, segment)):
        blocks = [block_number(segment.file, segment.first_block + count + i) for i in range(len(frames))]
        count += len(frames)
        if not all(block in known for block in blocks):
            digests = [digest_block(frame) for frame in frames]
            job.pool_store.commit(blocks, frames, seconds=time.monotonic() - started, digests=digests)
        started = time.monotonic()
    job.segment_store.log.append([Commit(first, 0, "", 0, count)])


def lay_out(job: Job) -> list[int]:
    """Cut the blocks of the pool into lanes, leave the plan where the workers find it; returns the lanes' numbers.

    Call it when every segment was read: the commit log then knows all blocks.
    """
    blocks = job.pool_store.log.table().select("block", "rows")
    plan = lay_lanes(blocks.rows(), job.lanes)
    save_lanes(job.lanes_path, plan)
    return list(range(plan.lanes))


def _groups(frames: Iterator[pl.DataFrame]) -> Iterator[list[pl.DataFrame]]:
    # Groups begin at fixed blocks, so a file of a group is whole or not there, whatever was killed before.
    while group := list(islice(frames, BLOCKS_PER_FILE)):
        yield group
