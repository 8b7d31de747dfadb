"""A full random order of samples, in pieces: a bucket holds the samples of a run of sort keys.

Shuffling sorts by ``mix`` of an identity and the seed. The leading bits of a key tell its bucket, so that the order
does not depend on how many there are: buckets only bound memory, as partitions do. A lane sends its rows to buckets
through files (kind ``ordered``); where images are moved too, the kind ``moved`` tells whereto.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.exchange import read_batch
from pairmill.sharding.shard_plan import shard_of
from pairmill.transforms.job import Job
from pairmill.transforms.shard_order import SplitOrder

Numbers = npt.NDArray[np.int64]

#: Rows of a bucket, with all their columns and embeddings some 100 MB.
ROWS_PER_BUCKET = 50_000
#: Fewer rows would make many small batches of the files that carry them.
LEAST_ROWS_PER_BUCKET = 1000
#: What a bucket may take of the bytes that are read at random places: several are written at a time.
BUCKET_SHARE = 8
#: The kinds of files between the steps: rows by bucket, where their moved images are, and the images.
ORDERED, MOVED, IMAGES = "ordered", "moved", "moved-images"


def lay_buckets(samples: Numbers, stored_bytes: int, random_read_bytes: int) -> tuple[Numbers, Numbers, Numbers]:
    """The buckets of a split whose laps have so many samples, as ``blocks``, ``counts`` and ``laps`` of its order.

    ``stored_bytes``: of all its images. Samples are spread evenly here; how many each really has is counted later.
    """
    total = int(samples.sum())
    mean = max(1, stored_bytes // max(1, total))
    rows = min(ROWS_PER_BUCKET, max(LEAST_ROWS_PER_BUCKET, random_read_bytes // BUCKET_SHARE // mean))
    numbers, counts, laps = [], [], []
    for lap, of_lap in enumerate(samples.tolist()):
        buckets = -(-of_lap // rows)
        numbers += list(range(buckets))
        counts += [of_lap * (i + 1) // buckets - of_lap * i // buckets for i in range(buckets)]
        laps += [lap] * buckets
    return np.array(numbers, np.int64), np.array(counts, np.int64), np.array(laps, np.int64)


def in_buckets(order: SplitOrder, samples: Numbers, stored_bytes: int, random_read_bytes: int) -> SplitOrder:
    """The order of a split in buckets, as ``lay_buckets`` lays them."""
    blocks, counts, laps = lay_buckets(samples, stored_bytes, random_read_bytes)
    return replace(order, blocks=blocks, counts=counts, laps=laps)


def bucket_of(keys: npt.NDArray[np.uint64], buckets: int) -> Numbers:
    """The bucket of each sort key, of so many that share the range of keys evenly; larger keys are never before."""
    return (((keys >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)).astype(np.int64)


def first_buckets(orders: Sequence[SplitOrder]) -> dict[str, int]:
    """The number of the first bucket of each split among the buckets of all."""
    ends = np.cumsum([0, *(len(order.blocks) for order in orders)])
    return {order.split: int(end) for order, end in zip(orders, ends, strict=False)}


def wanted_buckets(order: SplitOrder, finished: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether each bucket of a split has samples of a shard that is not ``finished`` (one flag a shard)."""
    if not order.samples:
        return np.zeros(len(order.blocks), np.bool_)
    starts = order.group_starts()
    stops = starts + order.counts
    open_shards = np.cumsum([0, *~finished])
    first, last = (
        shard_of(np.clip(ranks, 0, order.samples - 1), order.samples, order.shards) for ranks in (starts, stops - 1)
    )
    return (open_shards[last + 1] > open_shards[first]) & (order.counts > 0)


@dataclass(frozen=True)
class MovePlan:
    """Whether images are brought together by bucket before shards read them, and into which part those of each go."""

    two_passes: bool
    parts: tuple[int, ...] = ()  # by bucket

    @property
    def count(self) -> int:
        """How many parts there are."""
        return max(self.parts, default=-1) + 1


@lru_cache(maxsize=2)
def move_plan(job: Job) -> MovePlan:
    """The plan of this attempt; known once buckets were counted, and the same for every order of blocks."""
    path = move_path(job)
    if not path.is_file():
        return MovePlan(two_passes=False)
    told = json.loads(path.read_text(encoding="utf-8"))
    return MovePlan(told["two_passes"], tuple(told["parts"]))


def move_path(job: Job) -> Path:
    """Where the plan lies."""
    return job.parts / "move.json"


def bucket_rows(job: Job, bucket: int) -> pl.DataFrame:
    """The rows that lanes sent to a bucket; where images were moved, ``spool`` and ``spool_offset`` say whereto."""
    frames = []
    for path in job.all_exchanged(ORDERED):
        frame = read_batch(path, bucket)
        if move_plan(job).two_passes:
            frame = frame.with_columns(read_batch(job.parts / MOVED / path.name, bucket).get_columns())
        frames.append(frame)
    return pl.concat(frames)


def vectors_kind(number: int) -> str:
    """The kind of the files that carry the embeddings of one column."""
    return f"ordered-vectors-{number}"
