"""The steps of a build over rows that are made on the fly: narrow columns alone, no pool behind them, no images.

The graph, its barriers, the lane plan, the commit logs, the exchange through files and the plan of shards are
pairmill's. What is put in place of the rest lives here, by name, in the submitter and in every worker: whoever
unpickles a ``LargeJob`` imports this module.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from apache_beam.coders import FastPrimitivesCoder

from pairmill.sharding.commit_log import Commit
from pairmill.sharding.exchange import BatchWriter, PartitionWriter, read_partition
from pairmill.sharding.pair import block_number
from pairmill.sharding.shuffle import mix
from pairmill.transforms.job import Job
from pairmill.transforms.pool.read import Segment
from pairmill.transforms.wiring import barrier, build_dataset, calls
from pairmill.transforms.write_step import ShardRun

#: Rows of one block, and blocks of one segment.
BLOCK_ROWS = 10_000
SEGMENT_BLOCKS = 16
#: One row in so many has the bytes of another one.
ROWS_OF_ONE_IMAGE = 50
STORED_BYTES = 30_000
_CODER = FastPrimitivesCoder()


@dataclass(frozen=True, eq=False)
class LargeJob(Job):
    """A job whose unpickling brings these steps with it."""


def read_pool_segment(job: Job, segment: Segment) -> None:
    """Say that the blocks of a segment are read; a line of the log each."""
    blocks = range(segment.first_block, segment.first_block + SEGMENT_BLOCKS)
    numbers = [block_number(segment.file, block) for block in blocks if block * BLOCK_ROWS < (segment.rows or 0)]
    job.pool_store.log.append([Commit(number, 0, "", 0, BLOCK_ROWS) for number in numbers])


def rows_of(batch: list[int]) -> np.ndarray:
    """The row ids of some blocks."""
    return np.concatenate([np.arange(BLOCK_ROWS, dtype=np.uint64) + np.uint64(block << 16) for block in batch])


def send_identities(job: Job, lane: int) -> None:
    """The uid of every row to its partition: 24 bytes."""
    _send(job, lane, "identities", 2, lambda rows: rows)


def judge_lane(job: Job, lane: int) -> None:
    """The digest and three measures of every row to its partition: 40 bytes."""
    again = np.uint64(ROWS_OF_ONE_IMAGE)
    _send(job, lane, "features", 4, lambda rows: rows - (rows % again == again - 1))


def _send(job: Job, lane: int, kind: str, numbers: int, key: Any) -> None:
    plan = job.lane_plan()
    with PartitionWriter(job.parts / kind, lane, plan.partitions) as sent:
        for batch in plan.lane(lane):
            rows = rows_of(batch)
            keys = key(rows)
            columns = {f"n{number}": mix(keys, number, kind) for number in range(numbers)}
            sent.add(pl.DataFrame({"row_id": rows, **columns}), columns["n0"] % np.uint64(plan.partitions))


def find_shared(job: Job, partition: int) -> None:
    """No uid comes twice: all rows of a partition are sorted to see it."""
    found = read_partition(sorted((job.parts / "identities").glob("*.arrow")), partition).sort("n0", "n1")
    assert not found.select((pl.col("n0").diff() == 0).any()).item()


def find_equal(job: Job, partition: int) -> None:
    """Rows of equal bytes but the first go back to their lanes."""
    plan = job.lane_plan()
    rows = read_partition(sorted((job.parts / "features").glob("*.arrow")), partition).sort("n0", "n1", "row_id")
    again = rows.filter((pl.col("n0").diff() == 0) & (pl.col("n1").diff() == 0)).select("row_id")
    with PartitionWriter(job.parts / "rejected", partition, plan.lanes) as sent:
        blocks = again.get_column("row_id").to_numpy() >> np.uint64(16)
        sent.add(again, plan.lane_of(blocks))


def fetch_lane(job: Job, lane: int) -> None:
    """A commit for each block, as the fetch leaves them."""
    counts = {"ok": BLOCK_ROWS, "stored_bytes": BLOCK_ROWS * STORED_BYTES}
    for batch in job.lane_plan().lane(lane):
        job.fetch_store.log.append(
            [Commit(block, 0, f"{block:012x}.p0.parquet", 0, BLOCK_ROWS, 1.0, counts) for block in batch]
        )


def close_lane(job: Job, lane: int) -> None:
    """How many rows of each block are left."""
    rejected = read_partition(sorted((job.parts / "rejected").glob("*.arrow")), lane).get_column("row_id").to_numpy()
    blocks = np.array([block for batch in job.lane_plan().lane(lane) for block in batch], dtype=np.int64)
    gone = np.bincount(np.searchsorted(blocks, (rejected >> np.uint64(16)).astype(np.int64)), minlength=len(blocks))
    kept = BLOCK_ROWS - gone
    closed = pl.DataFrame({"split": 0, "block": blocks, "value": None, "lap 0": kept, "stored": kept * STORED_BYTES})
    digests = pl.DataFrame({"first_block": blocks, "digest": [f"{block:032x}" for block in blocks.tolist()]})
    for kind, frame in (("closed", closed.cast({"value": pl.String, "split": pl.Int8})), ("digests", digests)):
        with BatchWriter(job.exchanged(kind, lane)) as writer:
            writer.write(frame)


def write_shards(job: Job, run: ShardRun) -> int:
    """How many shards the run has; none is written."""
    return run.stop - run.first


def nothing(job: Job, number: int = 0) -> None:
    """A step that has no rows to work on."""


@cache
def _ledger(folder: str) -> dict[str, int]:
    return {"elements": 0, "bytes": 0, "largest": 0, "largest_gathered": 0}


def _weigh(job: Job, elements: list[Any], gathered: bool) -> None:
    """Note the encoded sizes of what crosses a stage."""
    folder = Path(job.build) / "weights"
    told = _ledger(str(folder))
    sizes = [len(_CODER.encode(element)) for element in elements]
    told["elements"] += len(sizes)
    told["bytes"] += sum(sizes)
    told["largest"] = max(told["largest"], *sizes, 0)
    if gathered:
        told["largest_gathered"] = max(told["largest_gathered"], sum(sizes))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}.json"
    attempt = path.with_suffix(f".{uuid.uuid4().hex}")
    attempt.write_text(json.dumps(told))
    attempt.replace(path)


def hand_over(_: bytes, then: Any, gathered: list[Any]) -> Any:
    """A barrier's, weighed."""
    job = getattr(then, "job", None)
    spread = list(then(gathered))
    if job is not None:
        _weigh(job, gathered, gathered=True)
        _weigh(job, spread, gathered=False)
    return enumerate(spread)


for _name, _step in {
    "read_pool_segment": read_pool_segment,
    "measure_captions": nothing,
    "send_identities": send_identities,
    "find_shared": find_shared,
    "fetch_lane": fetch_lane,
    "send_shared": nothing,
    "judge_lane": judge_lane,
    "find_equal": find_equal,
    "find_near": nothing,
    "close_lane": close_lane,
    "write_kept": nothing,
    "write_shards": write_shards,
    "counts_hosts": lambda job: False,
    "_hand_over": hand_over,
}.items():
    _users = [module for module in (barrier, build_dataset, calls) if hasattr(module, _name)]
    assert _users, _name
    for _module in _users:
        setattr(_module, _name, _step)
