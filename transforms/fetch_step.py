"""The fetch of a lane: every image that is wanted and not yet there, then what rows of one image share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import polars as pl

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.exchange import PartitionWriter, read_partition
from pairmill.sharding.pair import ROW_BITS
from pairmill.transforms.block_frame import of_blocks, read_fetched, read_parts
from pairmill.transforms.fetch.host_limits import HostLimits
from pairmill.transforms.fetch.lane import fetch_blocks
from pairmill.transforms.fetch.outcome import BlockJob, FetchAborted, Want
from pairmill.transforms.fetch.urls import host_key
from pairmill.transforms.fetch_columns import FETCH_COLUMNS, SHARED_COLUMNS
from pairmill.transforms.host_step import lanes_of_group, limits_of_lane, write_hosts
from pairmill.transforms.image.store import store_image
from pairmill.transforms.img2dataset_images import measure_resized, resizer_arguments
from pairmill.transforms.job import Job
from pairmill.transforms.judged_frame import judged_by_text
from pairmill.transforms.pool.spec import pool_root
from pairmill.transforms.share_step import lanes_of
from pairmill.transforms.spool import SpoolRoom, SpoolSink, fetch_counts


def fetch_lane(job: Job, lane: int) -> None:
    """Fetch what the lane's blocks want; each block's part is committed as soon as its last image is in.

    Crowded hosts are left to ``fetch_crowded``, see ``host_step``. Where the disk is nearly full no further block is
    opened: those that are open are finished or, if need be, committed as far as they are. Raises PairmillError then,
    and for what stops the fetch.
    """
    limits = limits_of_lane(job, lane)
    _fetch(job, wanted_parts(job, lane, "start", limits), limits)


def send_hosts(job: Job, lane: int) -> None:
    """Tell the partitions which hosts the lane will fetch from."""
    urls: list[str] = []
    for _, rows, _ in _wanted_rows(job, lane, "start"):
        urls += rows.filter(pl.col("path").is_null()).get_column("url").drop_nulls().to_list()
    write_hosts(job, lane, urls)


def fetch_crowded(job: Job, group: int) -> None:
    """Fetch what the lanes of a group have left to the crowded hosts, one request at a time to each."""
    limits = HostLimits(1)
    for lane in lanes_of_group(job, group):
        _fetch(job, wanted_parts(job, lane, "uncrowded", limits), limits)


def _fetch(job: Job, wanted: Iterator[BlockJob], limits: HostLimits) -> None:
    room = SpoolRoom(job.fetch_store, job.least_free_bytes)
    try:
        for _ in _closed_blocks(job, _while_room(wanted, room), limits, room):
            pass
        if room.low:
            raise PairmillError(room.low)
    except FetchAborted as error:
        if room.low:
            raise PairmillError(room.low) from error
        raise PairmillError(f"{error}; mend that and run the same command again: finished blocks are kept") from error


def _while_room(wanted: Iterator[BlockJob], room: SpoolRoom) -> Iterator[BlockJob]:
    for part in wanted:
        if not room.may_open():
            return
        yield part


def _closed_blocks(job: Job, wanted: Iterator[BlockJob], limits: HostLimits, room: SpoolRoom) -> Iterator[object]:
    def open_sink(part: BlockJob) -> SpoolSink:
        return SpoolSink(job.fetch_store, part.block, part.part, room)

    root, progress = pool_root(job.pool), job.fetch_store.log.progress
    if job.fetch.engine == "img2dataset":
        from pairmill.transforms.fetch.img2dataset_engine import fetch_blocks_by_img2dataset

        measure = partial(measure_resized, settings=job.image)
        return fetch_blocks_by_img2dataset(
            wanted, job.fetch, resizer_arguments(job.image), measure, open_sink, root=root, progress=progress
        )
    store = partial(store_image, settings=job.image)
    return fetch_blocks(wanted, job.fetch, store, open_sink, root=root, progress=progress, limits=limits)


def wanted_parts(job: Job, lane: int, moment: str, limits: HostLimits) -> Iterator[BlockJob]:
    """The next part of each block that still wants images: its living rows that own their image and lack it.

    What is fetched is looked up as of ``moment``. Rows of hosts that may not be asked are left out.
    """
    for block, rows, parts in _wanted_rows(job, lane, moment):
        missing, part = _without_adopted(job, block, _allowed(rows, limits), parts)
        if missing.height:
            yield BlockJob(block, part, _wants(missing))


def _allowed(rows: pl.DataFrame, limits: HostLimits) -> pl.DataFrame:
    if not any(limit == 0 for limit in limits.others.values()):
        return rows
    allowed = [limits.of(host_key(url)) > 0 for url in rows.get_column("url").to_list()]
    return rows.filter(pl.Series(allowed, dtype=pl.Boolean) | pl.col("path").is_not_null())


def _wanted_rows(job: Job, lane: int, moment: str) -> Iterator[tuple[int, pl.DataFrame, int]]:
    """Each block that wants images with the rows that do, and how many parts it has."""
    owned_elsewhere = read_partition(job.all_exchanged("owners"), lane).sort("row_id")
    earlier = job.fetch_store.snapshot(moment)
    for batch in job.lane_plan().lane(lane):
        described, verdicts = judged_by_text(job, batch)
        alive = verdicts.get_column("stage").is_null()
        elsewhere = of_blocks(owned_elsewhere, batch[0], batch[-1])
        there = read_fetched(job, batch, moment, ["row_id"])
        wanted = described.filter(alive).join(elsewhere, on="row_id", how="anti", maintain_order="left")
        wanted = wanted.join(there, on="row_id", how="anti", maintain_order="left")
        for block, rows in _by_block(wanted, "row_id"):
            yield block, rows, len(earlier.get(block, []))


def _without_adopted(job: Job, block: int, wanted: pl.DataFrame, parts: int) -> tuple[pl.DataFrame, int]:
    """Less of what a killed worker published of this block but did not log, which is logged now."""
    while (adopted := job.fetch_store.adopt([block], parts, fetch_counts)) is not None:
        wanted = wanted.join(read_parts(job, adopted, ["row_id"]), on="row_id", how="anti", maintain_order="left")
        parts += 1
    return wanted, parts


def _by_block(frame: pl.DataFrame, row_id: str) -> list[tuple[int, pl.DataFrame]]:
    """The rows of each block that the column ``row_id`` names, in pool order."""
    keyed = frame.with_columns(block_of_row=pl.col(row_id) // (1 << ROW_BITS))
    parts = keyed.partition_by("block_of_row", as_dict=True, maintain_order=True, include_key=False)
    return [(int(key[0]), parts[key]) for key in sorted(parts)]


def send_shared(job: Job, lane: int) -> None:
    """Write, for every row that uses an image this lane owns, the fetch columns of that image."""
    plan = job.lane_plan()
    sharers = read_partition(job.all_exchanged("sharers"), lane)
    with PartitionWriter(job.parts / "shared", lane, plan.lanes) as shared:
        nothing = pl.DataFrame(schema={name: FETCH_COLUMNS[name] for name in SHARED_COLUMNS})
        shared.add(nothing, np.empty(0, dtype=np.int64))
        for block, rows in _by_block(sharers, "owner"):
            fetched = read_fetched(job, [block], "fetched", SHARED_COLUMNS).rename({"row_id": "owner"})
            found = rows.join(fetched, on="owner", how="inner").select(SHARED_COLUMNS)
            shared.add(found, lanes_of(job, found.get_column("row_id")))


def _wants(frame: pl.DataFrame) -> list[Want]:
    columns = frame.select("row_id", "url", "path", "tar_offset", "tar_bytes").rows()
    mask = (1 << ROW_BITS) - 1
    return [Want(row_id & mask, url, path, offset, size) for row_id, url, path, offset, size in columns]
