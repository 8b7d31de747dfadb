"""The order of every split, or of every group of it, from what the lanes kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.errors import UsageError
from pairmill.sharding.mds import MAX_SHARD_BYTES
from pairmill.transforms.bucket_order import in_buckets
from pairmill.transforms.job import Job
from pairmill.transforms.shard_groups import MAX_VALUES, plan_groups
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
    shares = sorted(closed.select("split", "value").unique().iter_rows(), key=lambda share: (share[1] is None, share))
    if len(shares) > MAX_VALUES:
        raise UsageError(
            f"shards.groups.by: {job.shards.groups.by if job.shards.groups else None!r} has more than {MAX_VALUES:,} "
            "values; group by a column of fewer, or by cuts of a number"
        )
    places = {share: place for place, share in enumerate(shares)}
    blocks, stored = closed.get_column("block").to_numpy(), closed.get_column("stored").to_numpy()
    samples = closed.select(f"lap {lap}" for lap in range(laps)).to_numpy()
    share = _places(closed, shares)
    overhead = SAMPLE_OVERHEAD_BYTES + TEXT_OVERHEAD_BYTES * (len(job.text_names) - 1)
    total = int(samples.sum())
    groups: dict[str, tuple[str | None, ...] | None] = {"": None}
    if job.shards.groups is not None:
        counts = np.bincount(share, weights=samples.sum(axis=1), minlength=len(shares)).astype(np.int64)
        of_value: dict[str | None, int] = {}
        for (_, value), count in zip(shares, counts.tolist(), strict=True):
            of_value[value] = of_value.get(value, 0) + count
        groups = {f"-{name}": values for name, values in plan_groups(of_value, job.shards.groups).items()}
    orders = []
    for index, split in enumerate(split_names(job)):
        for name, values in groups.items():
            wanted = [
                place
                for (of_split, value), place in places.items()
                if of_split == index and (values is None or value in values)
            ]
            mine = np.isin(share, wanted)
            found, inverse = np.unique(blocks[mine], return_inverse=True)
            by_block = np.zeros((len(found), laps), dtype=np.int64)
            np.add.at(by_block, inverse, samples[mine])
            size = int(stored[mine].sum()) + int(by_block.sum()) * overhead
            # As many samples are shuffled together as without groups: blocks hold few of a small group.
            thinning = max(1, total // max(1, int(by_block.sum()))) if values is not None else 1
            settings = (job.shards, job.seed, values, thinning)
            order = order_split(f"{split}{name}", found, by_block, size, *settings)
            if job.shards.format != "webdataset" and size > MAX_SHARD_BYTES * order.shards:
                told = f"{size / order.shards / 2**30:.1f} GiB"
                raise UsageError(
                    f"shards.format: shards of {order.split} would have {told}, and MDS holds 4; plan more shards"
                )
            if job.shards.is_global:
                order = in_buckets(order, by_block.sum(axis=0), int(stored[mine].sum()), job.shards.most_random_bytes)
            orders.append(order)
    return orders


def _places(closed: pl.DataFrame, shares: Sequence[tuple[int, str | None]]) -> npt.NDArray[np.int64]:
    """The place of each row's split and value among ``shares``."""
    schema = {"split": closed.schema["split"], "value": pl.String()}
    known = pl.DataFrame(shares, schema=schema, orient="row").with_row_index("place")
    joined = closed.join(known, on=["split", "value"], how="left", nulls_equal=True, maintain_order="left")
    return joined.get_column("place").to_numpy().astype(np.int64)
