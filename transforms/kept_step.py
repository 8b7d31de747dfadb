"""The index of what a build kept, for later builds: a file for every so many batches of blocks, whatever the lanes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache

import polars as pl

from pairmill.sharding.column_files import attempt_path, replace_file, write_row_groups
from pairmill.sharding.exchange import read_batch, read_partition
from pairmill.sharding.mirror import open_place
from pairmill.sharding.pair import block_name
from pairmill.sharding.publish import publish_bytes, sum_file
from pairmill.transforms.block_frame import of_blocks, read_fetched
from pairmill.transforms.job import Job
from pairmill.transforms.known.kept_index import FOLDER, kept_frame

#: Batches of blocks in one file, each a row group.
BATCHES_PER_FILE = 256


def kept_files(job: Job) -> list[int]:
    """The numbers of the files of the index."""
    batches = len(job.lane_plan().batches)
    return list(range(-(-batches // BATCHES_PER_FILE)))


def kept_name(job: Job, number: int) -> str:
    """The name of one file: its first block."""
    return f"{block_name(job.lane_plan().batch(number * BATCHES_PER_FILE)[0])}.parquet"


def write_kept(job: Job, number: int) -> None:
    """Write one file of the index, when the ledger is closed; its sum and rows go to ``parts``, for the seal."""
    path = open_place(job.build) / FOLDER / kept_name(job, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    rows = write_row_groups(attempt, _frames(job, number))
    replace_file(attempt, path)
    told = job.parts / "kept_files" / f"{path.stem}.json"
    told.parent.mkdir(parents=True, exist_ok=True)
    publish_bytes(told, json.dumps({"rows": sum(rows), "file": sum_file(path).to_dict()}).encode())


def _frames(job: Job, number: int) -> Iterator[pl.DataFrame]:
    plan = job.lane_plan()
    first = number * BATCHES_PER_FILE
    for batch in range(first, min(first + BATCHES_PER_FILE, len(plan.batches))):
        lane, place = plan.place_of_batch(batch)
        kept = read_batch(job.exchanged("kept", lane), place).select("row_id")
        columns = ["row_id", "uid", "url", "sha256", "phash", "width", "height"]
        rows = read_batch(job.exchanged("alive", lane), place).select(columns)
        rows = rows.join(kept, on="row_id", how="semi", maintain_order="left")
        thumbnails = _thumbnails(job, lane, plan.batch(batch))
        yield kept_frame(rows.join(thumbnails, on="row_id", how="left", maintain_order="left"))


def _thumbnails(job: Job, lane: int, blocks: list[int]) -> pl.DataFrame:
    """The thumbnails of a batch's images: those that rows share win, as everywhere."""
    shared = of_blocks(_shared(job, lane), blocks[0], blocks[-1])
    own = read_fetched(job, blocks, "fetched", ["row_id", "thumbnail"])
    return pl.concat([own.join(shared, on="row_id", how="anti"), shared])


@lru_cache(maxsize=2)
def _shared(job: Job, lane: int) -> pl.DataFrame:
    return read_partition(job.all_exchanged("shared"), lane).select("row_id", "thumbnail").sort("row_id")
