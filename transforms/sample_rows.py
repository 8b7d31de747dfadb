"""The kept rows of a split in the order of its samples, group of blocks by group of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.exchange import read_batch
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.shard_groups import GROUP_VALUE
from pairmill.sharding.shard_plan import split_and_group
from pairmill.sharding.shuffle import mix
from pairmill.transforms.block_frame import of_block
from pairmill.transforms.bucket_order import bucket_rows, first_buckets
from pairmill.transforms.job import Job
from pairmill.transforms.late_selection import read_known
from pairmill.transforms.mixture.laps import copy_in_lap, first_laps
from pairmill.transforms.mixture_step import laps_of
from pairmill.transforms.shard_order import SplitOrder, load_orders
from pairmill.transforms.verdict_step import split_names
from pairmill.transforms.words.choice import TEXT_NAME, choose_texts
from pairmill.transforms.words.recycle import RECYCLED_FROM

#: Which copy of its row a sample is, and of how many; no pool has columns of these names.
COPY, _COPIES = "copy of row", "copies of row"


def sample_rows(job: Job, order: SplitOrder, start: int, stop: int) -> pl.DataFrame:
    """The rows from ``start`` to ``stop`` in the order of a split, every column."""
    return pl.concat(
        [group_rows(job, order.split, number)[first:last] for number, first, last in pieces(order, start, stop)]
    )


def pieces(order: SplitOrder, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The groups that hold the samples from ``start`` to ``stop``, each with its first and last such row."""
    starts = order.group_starts()
    for number in range(int(np.searchsorted(starts, start, side="right")) - 1, len(starts)):
        if starts[number] >= stop:
            break
        end = int(starts[number + 1]) if number + 1 < len(starts) else order.samples
        first, last = max(start, int(starts[number])), min(stop, end)
        if first < last:
            yield number, first - int(starts[number]), last - int(starts[number])


@lru_cache(maxsize=2)
def group_rows(job: Job, split: str, number: int) -> pl.DataFrame:
    """The rows of one group of blocks, or of a bucket, in the order in which the split's shards hold them.

    The column COPY tells which copy of its row each is; a build with a mixture has ``copy`` and ``copies`` besides.
    """
    orders = load_orders(job.parts / "orders.npz")
    order = orders[split]
    if job.shards.is_global:
        rows = bucket_rows(job, first_buckets(list(orders.values()))[split] + number)
    else:
        plan = job.lane_plan()
        lap, blocks = order.group(number)
        frames = []
        for block in blocks:
            lane, place = plan.place_of(block)
            alive, kept = read_known(job, lane, place), read_batch(job.exchanged("kept", lane), place)
            frames.append(lap_rows(job, order, lap, of_block(alive, block), of_block(kept, block)))
        rows = pl.concat(frames)
    # Rows of equal halves of a uid keep the order of their ids: ties are decided, not left to the sort.
    return rows[np.lexsort((rows.get_column("row_id").to_numpy(), sort_keys(rows, job.seed, split)))]


def sort_keys(rows: pl.DataFrame, seed: int, split: str) -> npt.NDArray[np.uint64]:
    """What the rows of a group are sorted by, in a split: a number that the seed and the uid fix."""
    return mix(hex_halves(rows.get_column("uid"))[1].to_numpy(), seed, f"rows {split}")


def lap_rows(job: Job, order: SplitOrder, lap: int, alive: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """The samples of one lap of a split with all their columns, in pool order.

    ``alive``: the columns of rows that reached the duplicate search; ``kept``: which of them, or of others, are kept.
    """
    index = split_names(job).index(split_and_group(order.split)[0])
    kept = kept.filter(pl.col("split") == index).drop("split").rename({"samples": _COPIES})
    if order.values is not None:
        kept = kept.filter(pl.col(GROUP_VALUE).is_in(list(order.values), nulls_equal=True)).drop(GROUP_VALUE)
    rows = alive.join(kept, on="row_id", how="inner", maintain_order="left")
    rows = _of_lap(rows, lap, laps_of(job), job.seed)
    if job.mixture is not None:
        rows = rows.rename({name: f"pool_{name}" for name in ("copy", "copies") if name in rows.columns})
        rows = rows.with_columns(copy=pl.col(COPY), copies=pl.col(_COPIES))
    return _drawn_again(job, rows.drop(_COPIES))


def _drawn_again(job: Job, rows: pl.DataFrame) -> pl.DataFrame:
    """Where texts are drawn, the further copies of a row have draws of their own; a recycled row's text is the same."""
    if not job.words or job.text_choice.choose != "sampled":
        return rows
    again = rows.get_column(COPY) > 0
    if RECYCLED_FROM in rows.columns:
        again &= rows.get_column(RECYCLED_FROM).is_null()
    if not again.any():
        return rows
    names = job.text_names
    every = np.ones((rows.height, len(names)), np.bool_)
    copy = rows.get_column(COPY).to_numpy().astype(np.int64)
    drawn = choose_texts(rows, job.text_choice, names, every, job.seed, copy)
    return rows.with_columns(pl.when(again).then(drawn).otherwise(TEXT_NAME).alias(TEXT_NAME))


def _of_lap(rows: pl.DataFrame, lap: int, laps: int, seed: int) -> pl.DataFrame:
    """The rows that have a copy in a lap, with its number."""
    copies = rows.get_column(_COPIES).to_numpy().astype(np.int64)
    first = first_laps(hex_halves(rows.get_column("uid"))[1].to_numpy(), laps, seed)
    copy = pl.Series(COPY, copy_in_lap(copies, first, lap, laps), dtype=pl.Int32)
    return rows.with_columns(copy).filter(copy >= 0)
