"""The fetch of a lane: every image that is wanted and not yet there, then what rows of one image share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import polars as pl

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.exchange import read_partition, write_partitions
from pairmill.sharding.pair import ROW_BITS
from pairmill.transforms.block_frame import read_described, read_parts
from pairmill.transforms.fetch.lane import fetch_blocks
from pairmill.transforms.fetch.outcome import BlockJob, FetchAborted, Want
from pairmill.transforms.fetch_columns import FETCH_COLUMNS, SHARED_COLUMNS
from pairmill.transforms.image.store import store_image
from pairmill.transforms.img2dataset_images import measure_resized, resizer_arguments
from pairmill.transforms.job import Job
from pairmill.transforms.judgement import judge_before_fetch
from pairmill.transforms.pool.spec import pool_root
from pairmill.transforms.share_step import lanes_of
from pairmill.transforms.spool import SpoolSink, fetch_counts


def fetch_lane(job: Job, lane: int) -> None:
    """Fetch what the lane's blocks want; each block's part is committed as soon as its last image is in."""
    try:
        for _ in _closed_blocks(job, wanted_parts(job, lane, job.lane_plan().lane(lane))):
            pass
    except FetchAborted as error:
        raise PairmillError(f"{error}; mend that and run the same command again: finished blocks are kept") from error


def _closed_blocks(job: Job, wanted: Iterator[BlockJob]) -> Iterator[object]:
    def open_sink(part: BlockJob) -> SpoolSink:
        return SpoolSink(job.fetch_store, part.block, part.part)

    root, progress = pool_root(job.pool), job.fetch_store.log.progress
    if job.fetch.engine == "img2dataset":
        from pairmill.transforms.fetch.img2dataset_engine import fetch_blocks_by_img2dataset

        measure = partial(measure_resized, settings=job.image)
        return fetch_blocks_by_img2dataset(
            wanted, job.fetch, resizer_arguments(job.image), measure, open_sink, root=root, progress=progress
        )
    store = partial(store_image, settings=job.image)
    return fetch_blocks(wanted, job.fetch, store, open_sink, root=root, progress=progress)


def wanted_parts(job: Job, lane: int, blocks: Sequence[int]) -> Iterator[BlockJob]:
    """The next part of each block that still wants images: its living rows that own their image and lack it."""
    shared = read_partition(job.all_exchanged("owners"), lane).get_column("row_id")
    earlier = job.fetch_store.snapshot("start")
    for block in blocks:
        parts = list(earlier.get(block, []))
        while (adopted := job.fetch_store.adopt([block], len(parts), fetch_counts)) is not None:
            parts += adopted
        described = read_described(job, block, "captions")
        alive = judge_before_fetch(described, job.rules).get_column("stage").is_null()
        there = read_parts(job.fetch_store, parts, ["row_id"]).get_column("row_id")
        wanted = described.filter(
            alive & ~described.get_column("row_id").is_in(shared.implode()),
        ).filter(~pl.col("row_id").is_in(there.implode()))
        if wanted.height:
            yield BlockJob(block, len(parts), _wants(wanted))


def send_shared(job: Job, lane: int) -> None:
    """Write, for every row that uses an image this lane owns, the fetch columns of that image."""
    sharers = read_partition(job.all_exchanged("sharers"), lane)
    by_block = sharers.with_columns(block=pl.col("owner") // (1 << ROW_BITS)).partition_by("block", as_dict=True)
    found = [
        rows.select("row_id", "owner").join(
            _fetched(job, int(block)).rename({"row_id": "owner"}), on="owner", how="inner"
        )
        for (block,), rows in sorted(by_block.items(), key=lambda item: int(item[0][0]))
    ]
    nothing = {name: FETCH_COLUMNS[name] for name in SHARED_COLUMNS}
    frame = pl.concat(found).drop("owner") if found else pl.DataFrame(schema=nothing)
    write_partitions(
        job.exchanged("shared", lane), frame, lanes_of(job, frame.get_column("row_id")), job.lane_plan().lanes
    )


def _wants(frame: pl.DataFrame) -> list[Want]:
    columns = frame.select("row_id", "url", "path", "tar_offset", "tar_bytes").rows()
    mask = (1 << ROW_BITS) - 1
    return [Want(row_id & mask, url, path, offset, size) for row_id, url, path, offset, size in columns]


def _fetched(job: Job, block: int) -> pl.DataFrame:
    parts = job.fetch_store.snapshot("fetched").get(block, [])
    return read_parts(job.fetch_store, parts, SHARED_COLUMNS)
