"""The order of every split, or of every group of it, from what the lanes kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pairmill.sharding.errors import UsageError
from pairmill.sharding.mds import MAX_SHARD_BYTES
from pairmill.sharding.shard_groups import MAX_VALUES, plan_groups
from pairmill.transforms.bucket_order import in_buckets
from pairmill.transforms.job import Job
from pairmill.transforms.shard_order import SplitOrder, order_split
from pairmill.transforms.verdict_step import split_names

#: What a sample takes beside its image: three headers, a caption and a record of ordinary length, and the padding.
SAMPLE_OVERHEAD_BYTES = 3 * 512 + 512 + 1024 + 256
#: What each further text takes in the record: one of ordinary length, the columns beside it, and their names.
TEXT_OVERHEAD_BYTES = 512


def plan_orders(job: Job, closed: pl.DataFrame, laps: int) -> list[SplitOrder]:
    """The orders of all splits, those of a split's groups one after another; ``laps``: as ``laps_of`` tells.

    ``closed``: samples and bytes by block, split and value, of all lanes, as ``close_lane`` writes them.

    A split or group without samples has an order without shards. Raises UsageError for groups that cannot be.
    """
    in_laps = [f"lap {lap}" for lap in range(laps)]
    closed = closed.with_columns(samples=pl.sum_horizontal(pl.col(in_laps).cast(pl.Int64)))
    groups: dict[str, tuple[str | None, ...] | None] = {"": None}
    if job.shards.groups is not None:
        by_value = closed.group_by("value").agg(pl.col("samples").sum())
        if by_value.height > MAX_VALUES:
            raise UsageError(
                f"shards.groups.by: {job.shards.groups.by!r} has {by_value.height:,} values, {MAX_VALUES:,} are the "
                "most; group by a column of fewer, or by cuts of a number"
            )
        planned = plan_groups(dict(by_value.iter_rows()), job.shards.groups)
        groups = {f"-{name}": values for name, values in planned.items()}
    total = int(closed.get_column("samples").sum())
    orders = []
    for index, split in enumerate(split_names(job)):
        of_split = closed.filter(pl.col("split") == index)
        for name, values in groups.items():
            mine = of_split
            if values is not None:
                mine = of_split.filter(pl.col("value").is_in(list(values), nulls_equal=True))
            orders.append(_order(job, f"{split}{name}", mine, in_laps, values, total))
    return orders


def _order(
    job: Job, name: str, mine: pl.DataFrame, in_laps: Sequence[str], values: tuple[str | None, ...] | None, total: int
) -> SplitOrder:
    """The order of a split, or of one group of it, whose samples by block are ``mine``; ``total``: those of all."""
    mine = mine.group_by("block").agg(pl.col("stored", *in_laps).sum()).sort("block")
    blocks = mine.get_column("block").to_numpy().astype(np.int64)
    samples = mine.select(in_laps).to_numpy().astype(np.int64).reshape(-1, len(in_laps))
    stored, count = int(mine.get_column("stored").sum()), int(samples.sum())
    size = stored + count * (SAMPLE_OVERHEAD_BYTES + TEXT_OVERHEAD_BYTES * (len(job.text_names) - 1))
    # As many samples are shuffled together as without groups: blocks hold few of a small group.
    thinning = max(1, total // max(1, count)) if values is not None else 1
    order = order_split(name, blocks, samples, size, job.shards, job.seed, values, thinning)
    if job.shards.format != "webdataset" and size > MAX_SHARD_BYTES * order.shards:
        told = f"{size / order.shards / 2**30:.1f} GiB"
        raise UsageError(f"shards.format: shards of {name} would have {told}, and MDS holds 4; plan more shards")
    if job.shards.is_global:
        order = in_buckets(order, samples.sum(axis=0), stored, job.shards.most_random_bytes)
    return order
