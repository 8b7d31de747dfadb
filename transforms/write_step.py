"""From kept rows to shards: the plan of the order, and the writing of a run of shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import polars as pl

from pairmill.sharding.column_files import attempt_path, replace_file, write_row_groups
from pairmill.sharding.exchange import read_all
from pairmill.sharding.free_space import require_free
from pairmill.sharding.mds import payload_bytes
from pairmill.sharding.mirror import fresh, size_of
from pairmill.sharding.publish import FileSum, publish_bytes, sum_file
from pairmill.sharding.shard import (
    CAPTION_EXTENSION,
    RECORD_EXTENSION,
    ShardInfo,
    ShardSample,
    members_of,
)
from pairmill.sharding.shard_formats import Ahead, write_formats
from pairmill.sharding.shard_plan import shard_name, shard_sizes
from pairmill.transforms.bucket_order import IMAGES, move_plan
from pairmill.transforms.embedding_step import write_shard_embeddings
from pairmill.transforms.job import Job
from pairmill.transforms.mixture_step import laps_of
from pairmill.transforms.plan_orders import plan_orders
from pairmill.transforms.sample_rows import sample_rows
from pairmill.transforms.shard_order import load_orders, save_orders
from pairmill.transforms.shard_records import metadata_frame, record_lines, sample_keys
from pairmill.transforms.spool import read_in_order, read_moved
from pairmill.transforms.words.choice import chosen_texts

#: A run of shards for each lane, several a worker, so that runs of unequal length even out.
RUNS_PER_LANE = 4


#: The columns of numbers of what lanes close with, where nothing is laid over several laps.
_CLOSED = ("split", "block", "lap 0", "stored")


@dataclass(frozen=True)
class ShardRun:
    """Consecutive shards of one split, written by one call."""

    split: str
    first: int
    stop: int
    plan: str  # digest of everything that decides the bytes, apart from the spool itself


def plan_shards(job: Job) -> list[ShardRun]:
    """Lay down the order of every split and cut its shards into runs; the plan's digest names what is to be written.

    Reads what ``close_lane`` left for it, when all lanes are closed.
    """
    files = job.all_exchanged("closed")
    laps = laps_of(job) if files else 1
    closed = read_all(files) if files else pl.DataFrame(schema=dict.fromkeys(_CLOSED, pl.Int64) | {"value": pl.String})
    orders = plan_orders(job, closed, laps)
    save_orders(job.parts / "orders.npz", orders)
    digest = hashlib.blake2b(str(laps).encode(), digest_size=16)
    told_of = read_all(job.all_exchanged("digests")).sort("first_block").iter_rows() if files else ()
    for first_block, kept in told_of:
        digest.update(f"{first_block} {kept}\n".encode())
    stores = [job.fetch_store.name, *(store.name for store in job.model_stores)]
    told: tuple[object, ...] = (job.shards.decides, job.embeddings, job.seed, job.splits, stores)
    if job.words:
        told += (job.text_choice, job.text_names)
    digest.update(repr(told).encode())
    runs = []
    for order in orders:
        count = min(order.shards, max(1, job.lane_plan().lanes * RUNS_PER_LANE))
        bounds = [order.shards * i // count for i in range(count + 1)] if count else []
        runs += [ShardRun(order.split, a, b, digest.hexdigest()) for a, b in pairwise(bounds)]
    stored_bytes = int(closed.get_column("stored").sum())
    plan = {
        "digest": digest.hexdigest(),
        "samples": sum(order.samples for order in orders),
        "stored_bytes": stored_bytes,
        "random_read_bytes": job.shards.most_random_bytes,
        "two_passes": job.shards.is_global and stored_bytes > job.shards.most_random_bytes,
        "runs": [asdict(run) for run in runs],
    }
    publish_bytes(job.parts / "plan.json", json.dumps(plan).encode())
    return runs


def plan_of(job: Job) -> dict[str, Any]:
    """What ``plan_shards`` noted: ``digest``, ``samples``, ``stored_bytes`` (of the images of all samples), ``runs``,

    and of the global order ``two_passes``: whether images are moved before, because they have more than
    ``random_read_bytes``.
    """
    return dict(json.loads((job.parts / "plan.json").read_text(encoding="utf-8")))


def shard_runs(job: Job) -> list[ShardRun]:
    """The runs of shards that ``plan_shards`` planned."""
    return [ShardRun(**run) for run in plan_of(job)["runs"]]


def write_shards(job: Job, run: ShardRun) -> int:
    """Write the shards of a run that no attempt at the same plan finished; returns how many samples they hold."""
    order = load_orders(job.parts / "orders.npz")[run.split]
    written = 0
    for shard in range(run.first, run.stop):
        name = shard_name(run.split, shard, order.shards, job.shards.layout)
        mark = job.shard_log / f"{name}.json"
        info = finished_shard(job, name, run.plan)
        if info is None:
            start, stop = shard_sizes(order.samples, order.shards)[shard]
            frame = sample_rows(job, order, start, stop)
            require_free(job.dataset, job.least_free_bytes, int(frame.get_column("stored_bytes").sum()))
            info = _write_shard(job, run.split, name, frame)
            metadata = _write_metadata(job, name, frame)
            embeddings = write_shard_embeddings(job, name, order, start, stop)
            mark.parent.mkdir(parents=True, exist_ok=True)
            record = {
                "plan": run.plan,
                "shard": info.to_dict(),
                "metadata": metadata.to_dict(),
                "embeddings": [file.to_dict() for file in embeddings],
            }
            publish_bytes(mark, json.dumps(record).encode())
        written += info.samples
    return written


def finished_shard(job: Job, name: str, plan: str) -> ShardInfo | None:
    """What an earlier attempt at this plan wrote under ``name``, if it finished it and the file is still that long."""
    mark = job.shard_log / f"{name}.json"
    try:
        record = json.loads(fresh(mark).read_text(encoding="utf-8"))
        info = ShardInfo.from_dict(record["shard"])
        whole = all(size_of(job.dataset / file.name) == file.bytes for file in info.files)
        if record["plan"] == plan and whole:
            return info
    except (OSError, ValueError, KeyError):
        pass
    return None


def _write_shard(job: Job, split: str, name: str, frame: pl.DataFrame) -> ShardInfo:
    records = list(record_lines(frame))
    samples = members_of(_members(job, frame, records), name)
    return write_formats(job.dataset, split, name, samples, job.shards.format, partial(_ahead, job, frame, records))


def _ahead(job: Job, frame: pl.DataFrame, records: Sequence[bytes]) -> Ahead:
    """The members of every sample and what each sample takes; images are not read for it."""
    sizes = frame.get_column("stored_bytes").to_list()
    told = zip(sample_keys(frame), sizes, chosen_texts(frame), records, strict=True)
    extensions = (job.image.encode_format, CAPTION_EXTENSION, RECORD_EXTENSION)
    payloads = [
        payload_bytes(key, (size, len(text.encode("utf-8", "replace")), len(record)))
        for key, size, text, record in told
    ]
    return Ahead(extensions, payloads)


def _members(job: Job, frame: pl.DataFrame, records: Iterable[bytes]) -> Iterator[ShardSample]:
    places = frame.select("spool", "spool_offset", "stored_bytes").rows()
    moved = move_plan(job).two_passes
    images = read_moved(job.parts / IMAGES, places) if moved else read_in_order(job.fetch_store, places)
    told = zip(sample_keys(frame), images, chosen_texts(frame), records, strict=True)
    for key, image, text, record in told:
        yield ShardSample(key, image, job.image.encode_format, text, record)


def _write_metadata(job: Job, name: str, frame: pl.DataFrame) -> FileSum:
    path = job.dataset / "metadata" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    write_row_groups(attempt, [metadata_frame(frame, name)], job.field_metadata())
    replace_file(attempt, path)
    return sum_file(path, job.dataset)
