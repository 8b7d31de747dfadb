"""The work of ``pairmill run`` in one process and one loop: the same functions, no Beam, nothing to resume from.

``python plain_loop.py RECIPE OUT`` fetches, judges, compares and writes shards; nothing is committed, logged or locked
on the way. Prints how many samples it wrote.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pairmill.pipeline.recipe import Recipe, load_recipe
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.pair import ROW_BITS, block_number, row_ids
from pairmill.sharding.shard import ShardSample, write_shard
from pairmill.sharding.shard_plan import sample_key, shard_name, shard_sizes
from pairmill.sharding.tar import TarAppender
from pairmill.transforms.duplicates.equal import equal_groups
from pairmill.transforms.duplicates.near import near_duplicates
from pairmill.transforms.duplicates.pictures import Pictures
from pairmill.transforms.duplicates.survivor import survivor_rank
from pairmill.transforms.fetch.lane import fetch_blocks
from pairmill.transforms.fetch.outcome import BlockJob, FetchOutcome, Want
from pairmill.transforms.fetch_columns import FETCH_COLUMNS
from pairmill.transforms.image.store import ImageFailure, store_image
from pairmill.transforms.judgement import judge_after_fetch, judge_before_fetch
from pairmill.transforms.language import identify_languages
from pairmill.transforms.plan_orders import SAMPLE_OVERHEAD_BYTES
from pairmill.transforms.pool.plan import plan_segments
from pairmill.transforms.pool.read import read_segment
from pairmill.transforms.sample_rows import COPY
from pairmill.transforms.shard_order import mix, order_split
from pairmill.transforms.shard_records import metadata_frame, record_lines
from pairmill.transforms.share_step import image_owners, image_place, repeated_rows, row_content


class PlainSink:
    """Stored images into one tar a block, what is known of them into a list."""

    def __init__(self, spool: Path, job: BlockJob) -> None:
        self._block = job.block
        self._name = str(spool / f"{job.block:012x}.tar")
        self._file = open(self._name, "wb", buffering=1 << 20)  # noqa: SIM115
        self._tar = TarAppender(self._file)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: int, outcome: FetchOutcome) -> None:
        """Keep one outcome."""
        record: dict[str, Any] = {"row_id": self._block << ROW_BITS | row, "status": str(outcome.status.value)}
        stored = outcome.stored
        if isinstance(stored, ImageFailure):
            record["status"] = stored.reason
        elif stored is not None:
            record["spool"], record["spool_offset"] = self._name, self._tar.add(f"{row:04x}", stored.data)
            record.update(stored.columns())
        self._rows.append(record)

    def close(self) -> pl.DataFrame:
        """The columns of the block."""
        self._tar.close()
        self._file.close()
        return pl.DataFrame(self._rows, schema=FETCH_COLUMNS).sort("row_id")

    def abort(self) -> None:
        """Close the file."""
        self._file.close()


def described_blocks(recipe: Recipe) -> dict[int, pl.DataFrame]:
    """Every block of the pool with row ids and languages."""
    blocks = {}
    for segment in plan_segments(recipe.pool):
        for number, frame in enumerate(read_segment(recipe.pool, segment)):
            block = block_number(segment.file, segment.first_block + number)
            language = identify_languages(frame.get_column("caption").to_list(), recipe.language)
            ids = pl.Series("row_id", row_ids(block, frame.height), dtype=pl.UInt64)
            blocks[block] = frame.with_columns(ids, *language)
    return blocks


def wanted(blocks: dict[int, pl.DataFrame], verdicts: dict[int, pl.DataFrame]) -> Iterator[BlockJob]:
    """What each block wants: its living rows, each row of the pool once, each image place once."""
    rows = pl.concat(
        [frame.select("row_id", "uid", place=image_place(), content=row_content()) for frame in blocks.values()]
    )
    uid_hi, uid_lo = hex_halves(rows.get_column("uid"))
    repeats = repeated_rows(rows.select("row_id", "content").with_columns(uid_hi=uid_hi, uid_lo=uid_lo))
    place = pl.col("place").hash(1).alias("place_hi"), pl.col("place").hash(2).alias("place_lo")
    owners = image_owners(rows.select("row_id", *place, fetched=pl.lit(value=False)))
    out = pl.concat([repeats.select("row_id"), owners.select("row_id")]).get_column("row_id")
    mask = (1 << ROW_BITS) - 1
    for block, frame in blocks.items():
        alive = frame.filter(verdicts[block].get_column("stage").is_null() & ~pl.col("row_id").is_in(out.implode()))
        columns = alive.select("row_id", "url", "path", "tar_offset", "tar_bytes").iter_rows()
        yield BlockJob(block, 0, [Want(row & mask, *rest) for row, *rest in columns])


def fetched_and_judged(recipe: Recipe, spool: Path) -> pl.DataFrame:
    """Every column of the rows that live after the fetch and all rules."""
    rules = recipe.all_rules()
    blocks = described_blocks(recipe)
    verdicts = {block: judge_before_fetch(frame, rules) for block, frame in blocks.items()}
    living = []
    closed = fetch_blocks(
        wanted(blocks, verdicts),
        recipe.fetch,
        store=partial(store_image, settings=recipe.image),
        open_sink=partial(PlainSink, spool),
    )
    for block in closed:
        described = blocks[block.block]
        fetched = described.select("row_id").join(block.result, on="row_id", how="left", maintain_order="left")
        judged = judge_after_fetch(described, fetched, verdicts[block.block], rules)
        columns = fetched.drop("row_id", "status", "status_detail", "attempts", "fetch_seconds")
        living.append(described.hstack(columns).filter(judged.get_column("stage").is_null()))
    return pl.concat(living).drop("row_error", "tar_offset", "tar_bytes").sort("row_id")


def without_duplicates(recipe: Recipe, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that the recipe's duplicate settings leave; what it only measures is measured."""
    settings = recipe.duplicates
    uids = np.stack(hex_halves(rows.get_column("uid")), axis=1)
    numbers = {name: rows.get_column(name).to_numpy() for name in ("row_id", "original_width", "original_height")}
    size = {"width": numbers["original_width"], "height": numbers["original_height"]}
    fetched = rows.get_column("fetched_bytes").to_numpy()
    rank = survivor_rank(settings.survivor, numbers["row_id"], uid_keys=uids, **size, fetched_bytes=fetched)
    shas = np.stack(hex_halves(rows.get_column("sha256").str.slice(0, 32)), axis=1)
    pictures = Pictures(
        phash=rows.get_column("phash").to_numpy(),
        thumbnails=np.frombuffer(b"".join(rows.get_column("thumbnail").to_list()), np.uint8).reshape(rows.height, -1),
        width=rows.get_column("width").to_numpy(),
        height=rows.get_column("height").to_numpy(),
    )
    near = near_duplicates(pictures, rank, settings.near_match)
    stays = np.ones(rows.height, dtype=bool)
    if settings.sha256 == "reject":
        stays &= equal_groups(shas, rank) == np.arange(rows.height)
    if settings.near == "reject":
        stays &= near.survivor == np.arange(rows.height)
    return rows.filter(pl.Series(stays)).drop("thumbnail")


def write(recipe: Recipe, rows: pl.DataFrame, out: Path) -> int:
    """Shuffled shards and their metadata; returns the samples written."""
    uid_lo = hex_halves(rows.get_column("uid"))[1].to_numpy()
    rows = rows[np.argsort(mix(uid_lo, recipe.seed, "rows train"), kind="stable")]
    rows = rows.with_columns(pl.lit(0, pl.Int32).alias(COPY))
    stored = int(rows.get_column("stored_bytes").sum()) + rows.height * SAMPLE_OVERHEAD_BYTES
    order = order_split("train", np.zeros(1, np.int64), np.array([[rows.height]]), stored, recipe.shards, recipe.seed)
    (out / "metadata").mkdir(parents=True, exist_ok=True)
    handles = {name: open(name, "rb", buffering=0) for name in rows.get_column("spool").unique()}  # noqa: SIM115
    for number, (start, stop) in enumerate(shard_sizes(rows.height, order.shards)):
        name, frame = shard_name("train", number, order.shards), rows[start:stop]
        write_shard(out / name, _samples(recipe, frame, handles))
        metadata_frame(frame, name).write_parquet(out / "metadata" / f"{name}.parquet", compression="zstd")
    for handle in handles.values():
        handle.close()
    return rows.height


def _samples(recipe: Recipe, frame: pl.DataFrame, handles: dict[str, Any]) -> Iterator[ShardSample]:
    columns = frame.select("uid", "caption", "spool", "spool_offset", "stored_bytes").iter_rows()
    for (uid, caption, spool, offset, size), record in zip(columns, record_lines(frame), strict=True):
        handles[spool].seek(offset)
        yield ShardSample(sample_key(uid), handles[spool].read(size), recipe.image.encode_format, caption or "", record)


def main() -> None:
    recipe, out = load_recipe(Path(sys.argv[1])), Path(sys.argv[2])
    spool = out / "spool"
    spool.mkdir(parents=True)
    kept = without_duplicates(recipe, fetched_and_judged(recipe, spool))
    samples = write(recipe, kept, out / "dataset")
    (out / "samples.json").write_text(json.dumps(samples))


if __name__ == "__main__":
    main()
