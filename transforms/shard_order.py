"""Which sample lands in which shard, and where: arithmetic of the seed, the same on every machine.

The order by blocks is made in two strides, so that writing reads the spool nearly in sequence: the blocks are shuffled
and gathered in groups, then the rows of a group are shuffled. The global order shuffles all rows of a split; it is cut
into buckets (``bucket_order``), which have the place of groups. Shuffling sorts by ``mix`` of an identity and the seed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.load_plan import ShardChoice, Training, choose_shards
from pairmill.sharding.machine_memory import memory_bytes
from pairmill.sharding.mirror import settle
from pairmill.sharding.shard_formats import Format
from pairmill.sharding.shard_groups import ShardGroups
from pairmill.sharding.shard_plan import TARGET_BYTES, Layout, shard_count
from pairmill.sharding.shuffle import mix

#: The orders once the samples of each bucket are counted.
COUNTED = "counted.npz"
_ORDER = re.compile(r"global|blocks:[1-9][0-9]*")


@dataclass(frozen=True)
class ShardSettings:
    """How large shards are and how they are ordered.

    One of ``count``, ``samples_per_shard`` and ``target_bytes`` decides, in that order; the number of shards is rounded
    to a multiple of ``multiple_of`` (ranks x loader workers, so that every worker gets as many shards). The default of
    256 MiB suits local NVMe: seconds to stage in, thousands of samples to shuffle; ``pairmill plan-shards`` knows more.
    ``auto``: in place of all of these, the number that a training run of this topology wants (``choose_shards``).
    ``order``: ``blocks:G``, so many blocks are shuffled together; more mixes better and reads the spool less in
    sequence; or ``global``, all samples of a split are. The global order reads images at random places of the spool
    where those that are kept have at most ``random_read_bytes`` (None: half of the machine's memory), and brings them
    together in files of their own before where they have more. What is written is the same.
    ``format``: tars, MDS for mosaicml-streaming, or both of the same samples. ``layout``: shards named with split,
    number and count, or as DataComp's resharder does, with its sidecars. ``groups``: rows that have shards of their
    own; what is said of the number of shards then holds for each group.
    """

    count: int | None = None
    samples_per_shard: int | None = None
    target_bytes: int | None = None
    multiple_of: int = 1
    auto: Training | None = None
    order: str = "blocks:16"
    random_read_bytes: int | None = None
    format: Format = "webdataset"
    layout: Layout = "split"
    groups: ShardGroups | None = None

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout):
            raise ValueError(f"layout: {self.layout!r} is not known; give split or datacomp")
        if self.layout == "datacomp" and self.format == "mds":
            raise ValueError("layout: datacomp is one of tars; give format webdataset or both")
        if self.layout == "datacomp" and self.groups is not None:
            raise ValueError("layout: datacomp has one row of shards, and so no groups")
        if self.format not in get_args(Format):
            raise ValueError(f"format: {self.format!r} is not known; give webdataset, mds or both")
        if not _ORDER.fullmatch(self.order):
            raise ValueError(f"order: {self.order!r} is not known; give blocks:G with a number of blocks, or global")
        for name in ("count", "samples_per_shard", "target_bytes", "multiple_of", "random_read_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.auto is not None:
            decided = [name for name in ("count", "samples_per_shard", "target_bytes") if getattr(self, name)]
            decided += ["multiple_of"] if self.multiple_of != 1 else []
            if decided:
                raise ValueError(f"auto decides the number of shards, and so does {decided[0]}; leave one of them out")

    @property
    def is_global(self) -> bool:
        """Whether all samples of a split are shuffled."""
        return self.order == "global"

    @property
    def group_blocks(self) -> int:
        """How many blocks are shuffled together; 0 in the global order."""
        return 0 if self.is_global else int(self.order.partition(":")[2])

    @property
    def most_random_bytes(self) -> int:
        """Of the global order: images of more bytes are brought together before shards are written."""
        return self.random_read_bytes or memory_bytes() // 2

    @property
    def decides(self) -> ShardSettings:
        """The settings without what only says how the work is done."""
        return replace(self, random_read_bytes=None)

    def choose(self, samples: int, total_bytes: int) -> ShardChoice:
        """How many shards hold so many samples of so many bytes together, as tar members; none for no samples."""
        if not samples:
            return ShardChoice(0, "there are no samples")
        mean = total_bytes / samples
        if self.auto is not None:
            return choose_shards(samples, mean, self.auto)
        if self.count is not None:
            return ShardChoice(
                min(self.count, samples), "count" if self.count <= samples else "the samples: no shard may be empty"
            )
        target = TARGET_BYTES if self.target_bytes is None else self.target_bytes
        counted = shard_count(samples, mean, target, self.samples_per_shard, self.multiple_of)
        because = f"target_bytes, {target / 2**20:,.0f} MiB"
        if self.samples_per_shard is not None:
            because = f"samples_per_shard, {self.samples_per_shard:,}"
        if counted != shard_count(samples, mean, target, self.samples_per_shard):
            because += f", and multiple_of {self.multiple_of}"
        return ShardChoice(counted, because)


def split_of(groups: npt.NDArray[np.uint64], splits: tuple[tuple[str, float], ...], seed: int) -> npt.NDArray[np.int64]:
    """For each duplicate group its split: index into ``splits``, or ``len(splits)`` for the rest (``train``)."""
    unit = mix(groups, seed, "split") / 2.0**64
    bounds = np.cumsum([share for _, share in splits])
    return np.searchsorted(bounds, unit, side="right")


@dataclass(frozen=True, eq=False)
class SplitOrder:
    """The order of one split, or of one group of it.

    ``blocks`` (shuffled), the samples of each (``counts``), and the number of shards. Where rows are written several
    times there are several laps over the blocks: ``laps`` tells that of each entry. Of a group ``split`` is
    ``train-en``, and ``values`` are what its rows have in the recipe's column; None: all rows. In the global order
    (``group_blocks`` 0) buckets have the place of blocks, numbered anew in each lap.
    """

    split: str
    blocks: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    laps: npt.NDArray[np.int64]
    chosen: ShardChoice
    group_blocks: int
    values: tuple[str | None, ...] | None = None

    @property
    def shards(self) -> int:
        """Shards of the split."""
        return self.chosen.shards

    @property
    def samples(self) -> int:
        """Samples of the split."""
        return int(self.counts.sum())

    def counted(self, counts: npt.NDArray[np.int64]) -> SplitOrder:
        """The same with the samples that each bucket really has."""
        return replace(self, counts=counts)

    def group_starts(self) -> npt.NDArray[np.int64]:
        """The place of the first sample of each group in the split's order."""
        ends = np.cumsum(self.counts)
        return (ends - self.counts)[self._firsts()[:-1]]

    def group(self, number: int) -> tuple[int, list[int]]:
        """The lap and the blocks of one group."""
        firsts = self._firsts()
        start, stop = firsts[number], firsts[number + 1]
        return int(self.laps[start]), self.blocks[start:stop].tolist()

    def _firsts(self) -> npt.NDArray[np.int64]:
        """Where each group begins, and the end. No group is of two laps; a lap has only a part of each block's rows."""
        if not self.group_blocks:  # a bucket is a group
            return np.arange(len(self.blocks) + 1)
        if not len(self.blocks):
            return np.zeros(1, dtype=np.int64)
        blocks = self.group_blocks * (int(self.laps.max()) + 1)
        bounds = [*np.flatnonzero(np.diff(self.laps, prepend=-1)).tolist(), len(self.laps)]
        return np.array([*(first for a, b in pairwise(bounds) for first in range(a, b, blocks)), bounds[-1]])


def order_split(
    split: str,
    blocks: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    total_bytes: int,
    settings: ShardSettings,
    seed: int,
    values: tuple[str | None, ...] | None = None,
    thinning: int = 1,
) -> SplitOrder:
    """The order of a split from the samples of each block by lap, [blocks, laps].

    ``total_bytes``: of its samples as tar members. ``thinning``: so many times more blocks are shuffled together, where
    blocks hold few of the split's samples.
    """
    order = np.argsort(mix(blocks.astype(np.uint64), seed, f"blocks {split}"), kind="stable")
    laps = np.repeat(np.arange(counts.shape[1]), len(blocks))
    blocks, counts = np.tile(blocks[order], counts.shape[1]), counts[order].T.reshape(-1)
    living = counts > 0
    blocks, counts, laps = blocks[living], counts[living], laps[living]
    chosen = settings.choose(int(counts.sum()), total_bytes)
    return SplitOrder(split, blocks, counts, laps, chosen, settings.group_blocks * thinning, values)


def save_orders(path: Path, orders: list[SplitOrder]) -> None:
    """Write the orders of all splits where every worker can read them."""
    attempt = attempt_path(path)
    arrays: dict[str, npt.NDArray[np.generic]] = {"splits": np.array([order.split for order in orders])}
    for order in orders:
        arrays[f"{order.split}.blocks"] = order.blocks
        arrays[f"{order.split}.counts"] = order.counts
        arrays[f"{order.split}.laps"] = order.laps
        arrays[f"{order.split}.shape"] = np.array([order.shards, order.group_blocks])
        arrays[f"{order.split}.told"] = np.array([order.chosen.because, *order.chosen.notes])
        arrays[f"{order.split}.values"] = np.array(json.dumps(order.values))
    with attempt.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    settle(attempt, path)


def load_orders(path: Path) -> dict[str, SplitOrder]:
    """Read what ``save_orders`` wrote, by split; where samples were counted since, as they were counted."""
    counted = path.with_name(COUNTED)  # a file of its own: what other machines have read does not change
    path = counted if counted.is_file() else path
    with np.load(path, allow_pickle=False) as file:
        return {
            str(split): SplitOrder(
                str(split),
                file[f"{split}.blocks"],
                file[f"{split}.counts"],
                file[f"{split}.laps"],
                _chosen(file[f"{split}.shape"], file[f"{split}.told"]),
                int(file[f"{split}.shape"][1]),
                None if (values := json.loads(str(file[f"{split}.values"]))) is None else tuple(values),
            )
            for split in file["splits"]
        }


def _chosen(shape: npt.NDArray[np.int64], told: npt.NDArray[np.str_]) -> ShardChoice:
    because, *notes = map(str, told)
    return ShardChoice(int(shape[0]), because, tuple(notes))
