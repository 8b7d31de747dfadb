"""Sending the samples of a full random order to buckets: rows and embeddings, then the images where they are many."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.exchange import BatchWriter, PartitionWriter, read_batch, read_columns
from pairmill.sharding.free_space import require_free
from pairmill.sharding.mirror import fetched_all, listed, settle
from pairmill.sharding.publish import publish_bytes
from pairmill.sharding.shard_plan import shard_name
from pairmill.transforms.bucket_order import (
    IMAGES,
    MOVED,
    ORDERED,
    Numbers,
    bucket_of,
    first_buckets,
    move_path,
    move_plan,
    vectors_kind,
    wanted_buckets,
)
from pairmill.transforms.embedding_step import EmbeddingColumn, embedding_columns
from pairmill.transforms.job import Job
from pairmill.transforms.late_selection import read_known
from pairmill.transforms.sample_rows import lap_rows, sort_keys
from pairmill.transforms.shard_order import COUNTED, SplitOrder, load_orders, save_orders
from pairmill.transforms.spool import read_in_order
from pairmill.transforms.write_step import finished_shard, plan_of

#: Wide rows that a lane holds before it writes them out.
ROWS_PER_FILE = 100_000
#: Files that a lane writes to at a time.
MOST_PARTS = 256
_PART_BUFFER_BYTES = 256 << 10


def send_ordered(job: Job, lane: int) -> None:
    """Send the samples of a lane to their buckets, and the embeddings that the dataset is to hold."""
    orders = load_orders(job.parts / "orders.npz")
    buckets = sum(len(order.blocks) for order in orders.values())
    firsts = first_buckets(list(orders.values()))
    columns = embedding_columns(job)
    counts = np.zeros(buckets, np.int64)
    with ExitStack() as stack:
        kinds = [ORDERED, *(vectors_kind(number) for number in range(len(columns)))]
        rows_writer, *writers = (
            stack.enter_context(PartitionWriter(job.parts / kind, lane, buckets, ROWS_PER_FILE)) for kind in kinds
        )
        for place, batch in enumerate(job.lane_plan().lane(lane)):
            alive, kept = read_known(job, lane, place), read_batch(job.exchanged("kept", lane), place)
            sent = [
                (rows, firsts[order.split] + _buckets(job, order, lap, rows))
                for order in orders.values()
                for lap in np.unique(order.laps).tolist()
                for rows in [lap_rows(job, order, lap, alive, kept)]
            ]
            if not sent:
                continue
            rows, targets = pl.concat([rows for rows, _ in sent]), np.concatenate([target for _, target in sent])
            counts += np.bincount(targets, minlength=buckets)
            rows_writer.add(rows, targets)
            for column, writer in zip(columns, writers, strict=True):
                writer.add(_vectors(column, batch, rows), targets)
    path = _counts_folder(job) / f"{lane:06d}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    with attempt.open("wb") as file:
        np.save(file, counts)
    settle(attempt, path)


def count_buckets(job: Job) -> None:
    """When every lane has sent: how many samples each bucket has, and whether and how images are moved."""
    orders = list(load_orders(job.parts / "orders.npz").values())
    counts = sum(np.load(path, allow_pickle=False) for path in fetched_all(listed(_counts_folder(job), "*.npy")))
    firsts, counted = first_buckets(orders), []
    for order in orders:
        first = firsts[order.split]
        counted.append(order.counted(counts[first : first + len(order.blocks)]) if len(order.blocks) else order)
    save_orders(job.parts / COUNTED, counted)
    plan = plan_of(job)
    parts: Numbers = np.zeros(0, np.int64)
    if plan["two_passes"]:
        before = np.cumsum([0, *(count for order in counted for count in order.counts.tolist())])[:-1]
        mean = plan["stored_bytes"] / max(1, plan["samples"])
        # Each worker writes shards of another part, and what it reads of the part stays in memory.
        part_bytes = max(plan["random_read_bytes"] / (2 * job.lanes), plan["stored_bytes"] / MOST_PARTS, 1.0)
        parts = np.unique((before * mean / part_bytes).astype(np.int64), return_inverse=True)[1]
    told = {"two_passes": plan["two_passes"], "parts": parts.tolist()}
    publish_bytes(move_path(job), json.dumps(told).encode())


def move_images(job: Job, lane: int) -> None:
    """Where the plan says so, copy the images of a lane to the parts of their buckets; the spool is read in sequence.

    Images of shards that an earlier attempt finished stay where they are. Raises PairmillError where the disk has too
    little room.
    """
    plan = move_plan(job)
    if not plan.two_passes:
        return
    wanted = unfinished_buckets(job)
    parts = np.array(plan.parts)
    with _PartFiles(job, lane) as files:
        for path in listed(job.parts / ORDERED, f"{lane:06d}-*.arrow"):
            batches = list(read_columns(path, ("spool", "spool_offset", "stored_bytes")))
            rows = pl.concat([batch.with_columns(bucket=pl.lit(n, pl.Int64)) for n, batch in enumerate(batches)])
            rows = rows.with_row_index("place")
            moving = rows.filter(pl.Series(wanted[rows.get_column("bucket").to_numpy()]))
            moving = moving.sort("spool", "spool_offset", "place")
            require_free(job.parts, job.least_free_bytes, int(moving.get_column("stored_bytes").sum()))
            offsets = np.full(rows.height, -1, np.int64)
            places = moving.select("spool", "spool_offset", "stored_bytes").rows()
            images = read_in_order(job.fetch_store, places)
            targets = parts[moving.get_column("bucket").to_numpy()].tolist()
            for place, part, image in zip(moving.get_column("place").to_list(), targets, images, strict=True):
                offsets[place] = files.append(part, image)
            names = [files.name(part) for part in range(plan.count)]
            told = rows.select(
                spool=pl.Series("spool", [names[part] for part in parts[rows.get_column("bucket").to_numpy()]]),
                spool_offset=pl.Series("spool_offset", offsets),
            )
            with BatchWriter(job.parts / MOVED / path.name) as writer:
                start = 0
                for batch in batches:
                    writer.write(told[start : start + batch.height])
                    start += batch.height


def unfinished_buckets(job: Job) -> npt.NDArray[np.bool_]:
    """Whether each bucket has samples of a shard that is still to be written."""
    found = [np.zeros(0, np.bool_)]
    digest = plan_of(job)["digest"]
    for order in load_orders(job.parts / "orders.npz").values():
        names = [shard_name(order.split, n, order.shards, job.shards.layout) for n in range(order.shards)]
        finished = np.array([finished_shard(job, name, digest) is not None for name in names], np.bool_)
        found.append(wanted_buckets(order, finished))
    return np.concatenate(found)


class _PartFiles:
    """The files that one lane's images go to, one a part; they appear when the block ends well."""

    def __init__(self, job: Job, lane: int) -> None:
        self._folder, self._lane = job.parts / IMAGES, lane
        self._open: dict[int, tuple[Path, BinaryIO]] = {}
        self._length: defaultdict[int, int] = defaultdict(int)

    def name(self, part: int) -> str:
        """The name of the lane's file of a part, relative to the folder of all."""
        return f"{part:05d}/{self._lane:06d}.bin"

    def append(self, part: int, image: bytes) -> int:
        """Write an image behind those that are there; returns the offset of its first byte."""
        if part not in self._open:
            path = self._folder / self.name(part)
            path.parent.mkdir(parents=True, exist_ok=True)
            attempt = attempt_path(path)
            self._open[part] = attempt, attempt.open("wb", buffering=_PART_BUFFER_BYTES)
        self._open[part][1].write(image)
        offset = self._length[part]
        self._length[part] += len(image)
        return offset

    def __enter__(self) -> _PartFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for part, (attempt, file) in self._open.items():
            file.close()
            if kind is None:
                settle(attempt, self._folder / self.name(part))
            else:
                attempt.unlink(missing_ok=True)


def _buckets(job: Job, order: SplitOrder, lap: int, rows: pl.DataFrame) -> Numbers:
    """The bucket of each row of a lap, among those of its split."""
    own = np.flatnonzero(order.laps == lap)
    return int(own[0]) + bucket_of(sort_keys(rows, job.seed, order.split), len(own))


def _vectors(column: EmbeddingColumn, batch: list[int], rows: pl.DataFrame) -> pl.DataFrame:
    """``row_id`` and the embedding of each row, in the order of the rows."""
    run = column.run
    told = run.read(run.done(batch, "scored" if run.scorer.reads == "image" else "texts"), [column.column])
    joined = rows.select(list(run.key)).join(told, on=list(run.key), how="left", maintain_order="left")
    lost = rows.height - joined.join(told, on=list(run.key), how="semi").height
    if lost:
        raise PairmillError(
            f"{lost} samples have no {column.column}: the work folder was changed while it was in use; run the same "
            "command again"
        )
    return joined.select("row_id", column.column)


def _counts_folder(job: Job) -> Path:
    return job.parts / "bucket-counts"
