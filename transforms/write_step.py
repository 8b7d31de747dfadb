"""From kept rows to shards: the plan of the order, and the writing of a run of shards."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import polars as pl

from pairmill.sharding.column_files import attempt_path, replace_file, write_row_groups
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.exchange import read_batch
from pairmill.sharding.publish import FileSum, publish_bytes, sum_file
from pairmill.sharding.shard import ShardInfo, ShardSample, write_shard
from pairmill.sharding.shard_plan import sample_key, shard_name, shard_sizes
from pairmill.transforms.block_frame import of_block
from pairmill.transforms.job import Job
from pairmill.transforms.shard_order import SplitOrder, load_orders, mix, order_split, save_orders
from pairmill.transforms.shard_records import metadata_frame, record_lines
from pairmill.transforms.share_step import hex_halves
from pairmill.transforms.spool import spool_path
from pairmill.transforms.verdict_step import BatchVerdict, split_names

#: What a sample takes beside its image: three headers, a caption and a record of ordinary length, and the padding.
SAMPLE_OVERHEAD_BYTES = 3 * 512 + 512 + 1024 + 256
#: A run of shards for each lane, several a worker, so that runs of unequal length even out.
RUNS_PER_LANE = 4
#: A shard of few rows a block, or of shared images, reads from thousands of tars: more than a process may have open.
OPEN_SPOOLS = 256


@dataclass(frozen=True)
class ShardRun:
    """Consecutive shards of one split, written by one call."""

    split: str
    first: int
    stop: int
    plan: str  # digest of everything that decides the bytes, apart from the spool itself


def plan_shards(job: Job, verdicts: list[BatchVerdict]) -> list[ShardRun]:
    """Lay down the order of every split and cut its shards into runs; the plan's digest names what is to be written."""
    verdicts = sorted(verdicts, key=lambda verdict: verdict.first_block)
    blocks = np.array([block for verdict in verdicts for block in verdict.blocks], dtype=np.int64)
    shape = (len(blocks), len(job.splits) + 1)
    samples = np.array([of_block for verdict in verdicts for of_block in verdict.samples], dtype=np.int64)
    stored = np.array([of_block for verdict in verdicts for of_block in verdict.stored_bytes], dtype=np.int64)
    samples, stored = samples.reshape(shape), stored.reshape(shape)
    orders = []
    for index, split in enumerate(split_names(job)):
        counts = samples[:, index]
        total = int(stored[:, index].sum()) + int(counts.sum()) * SAMPLE_OVERHEAD_BYTES
        orders.append(order_split(split, blocks, counts, total, job.shards, job.seed))
    save_orders(job.parts / "orders.npz", orders)
    digest = hashlib.blake2b(digest_size=16)
    for verdict in verdicts:
        digest.update(f"{verdict.first_block} {verdict.digest}\n".encode())
    digest.update(repr((job.shards, job.seed, job.splits, job.fetch_store.name)).encode())
    runs = []
    for order in orders:
        count = min(order.shards, max(1, job.lane_plan().lanes * RUNS_PER_LANE))
        bounds = [order.shards * i // count for i in range(count + 1)] if count else []
        runs += [ShardRun(order.split, a, b, digest.hexdigest()) for a, b in pairwise(bounds)]
    return runs


def write_shards(job: Job, run: ShardRun) -> int:
    """Write the shards of a run that no attempt at the same plan finished; returns how many samples they hold."""
    order = load_orders(job.parts / "orders.npz")[run.split]
    written = 0
    for shard in range(run.first, run.stop):
        name = shard_name(run.split, shard, order.shards)
        mark = job.shard_log / f"{name}.json"
        info = finished_shard(job, name, run.plan)
        if info is None:
            start, stop = shard_sizes(order.samples, order.shards)[shard]
            frame = _samples(job, order, start, stop)
            info = write_shard(job.dataset / name, _members(job, frame))
            metadata = _write_metadata(job, name, frame)
            mark.parent.mkdir(parents=True, exist_ok=True)
            record = {"plan": run.plan, "shard": info.to_dict(), "metadata": metadata.to_dict()}
            publish_bytes(mark, json.dumps(record).encode())
        written += info.samples
    return written


def finished_shard(job: Job, name: str, plan: str) -> ShardInfo | None:
    """What an earlier attempt at this plan wrote under ``name``, if it finished it and the file is still that long."""
    mark = job.shard_log / f"{name}.json"
    try:
        record = json.loads(mark.read_text(encoding="utf-8"))
        info = ShardInfo.from_dict(record["shard"])
        if record["plan"] == plan and (job.dataset / f"{name}.tar").stat().st_size == info.bytes:
            return info
    except (OSError, ValueError, KeyError):
        pass
    return None


def _samples(job: Job, order: SplitOrder, start: int, stop: int) -> pl.DataFrame:
    """The rows from ``start`` to ``stop`` in the order of a split, every column."""
    starts = order.group_starts()
    first = int(np.searchsorted(starts, start, side="right")) - 1
    frames = []
    for number in range(first, len(starts)):
        if starts[number] >= stop:
            break
        group = _group(job, order.split, number)
        frames.append(group[max(0, start - int(starts[number])) : stop - int(starts[number])])
    return pl.concat(frames)


@lru_cache(maxsize=2)
def _group(job: Job, split: str, number: int) -> pl.DataFrame:
    order = load_orders(job.parts / "orders.npz")[split]
    index = split_names(job).index(split)
    plan = job.lane_plan()
    frames = []
    for block in order.group(number):
        lane, place = plan.place_of(block)
        kept = of_block(read_batch(job.exchanged("kept", lane), place), block).filter(pl.col("split") == index)
        alive = of_block(read_batch(job.exchanged("alive", lane), place), block)
        frames.append(alive.join(kept.select("row_id"), on="row_id", how="semi", maintain_order="left"))
    rows = pl.concat(frames)
    uid_lo = hex_halves(rows.get_column("uid"))[1].to_numpy()
    # Rows of equal halves of a uid keep the order of their ids: ties are decided, not left to the sort.
    return rows[np.lexsort((rows.get_column("row_id").to_numpy(), mix(uid_lo, job.seed, f"rows {split}")))]


def _members(job: Job, frame: pl.DataFrame) -> Iterator[ShardSample]:
    handles: dict[str, int] = {}
    columns = frame.select("uid", "caption", "spool", "spool_offset", "stored_bytes").iter_rows()
    try:
        for (uid, caption, spool, offset, size), record in zip(columns, record_lines(frame), strict=True):
            if spool not in handles:
                if len(handles) >= OPEN_SPOOLS:
                    os.close(handles.pop(next(iter(handles))))
                handles[spool] = _open_spool(job, spool)
            image = os.pread(handles[spool], size, offset)
            if len(image) != size:
                raise PairmillError(
                    f"{spool_path(job.fetch_store, spool)} ends before the image of {uid} at byte {offset}: the spool "
                    "is damaged; remove its block's column file and run the same command again to fetch it anew"
                )
            yield ShardSample(sample_key(uid), image, job.image.encode_format, caption or "", record)
    finally:
        for handle in handles.values():
            os.close(handle)


def _open_spool(job: Job, spool: str) -> int:
    path = spool_path(job.fetch_store, spool)
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise PairmillError(
            f"{path} is missing: the spool was changed by hand; remove the column file that names it and run the same "
            "command again to fetch its block anew"
        ) from None


def _write_metadata(job: Job, name: str, frame: pl.DataFrame) -> FileSum:
    path = job.dataset / "metadata" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    write_row_groups(attempt, [metadata_frame(frame, name)])
    replace_file(attempt, path)
    return sum_file(path, job.dataset)
