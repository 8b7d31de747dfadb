"""Which samples of a dataset go where: a subset, the number of shards, and their order."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.shard_formats import Format
from pairmill.sharding.shard_groups import GROUP_VALUE, ShardGroups, group_values, manifest_groups, plan_groups
from pairmill.sharding.shard_plan import (
    TARGET_BYTES,
    Layout,
    in_splits,
    shard_count,
    shard_sizes,
    split_and_group,
)
from pairmill.sharding.shard_source import ShardSource
from pairmill.sharding.shuffle import mix
from pairmill.sharding.value_list import list_file, read_list

Order = Literal["keep", "shuffle"]


@dataclass(frozen=True)
class ReshardSettings:
    """What the new shards are to be.

    One of ``count``, ``samples_per_shard`` and ``target_bytes`` decides how many there are, in that order, rounded to a
    multiple of ``multiple_of`` (ranks x loader workers). ``order``: as it is, or shuffled by ``seed`` over the whole of
    a split. ``subset`` and ``without`` are files of uids or keys to take or to leave out: text, a parquet file of one
    column, or the ``.npy`` of a DataComp subset; what ``subset`` names several times is written as often, the further
    times as ``KEY-1``, ``KEY-2``, …, as DataComp's resharder does. ``where`` is a condition over the columns of the
    metadata, in SQL. ``layout``: shards named with their split and number as Hugging Face does, or as DataComp's
    resharder writes them, with its ``_stats.json`` and ``meta.json``. ``format``: tars, MDS, or both. ``groups``:
    shards of their own for values of a column of the metadata; by default a source's groups stay as they are.
    """

    count: int | None = None
    samples_per_shard: int | None = None
    target_bytes: int = TARGET_BYTES
    multiple_of: int = 1
    order: Order = "keep"
    seed: int = 0
    subset: str | None = None
    without: str | None = None
    where: str | None = None
    layout: Layout = "split"
    format: Format = "webdataset"
    groups: ShardGroups | None = None

    def __post_init__(self) -> None:
        for name in ("count", "samples_per_shard", "target_bytes", "multiple_of"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.order not in get_args(Order):
            raise ValueError(f"order: {self.order!r} is not known; give keep or shuffle")
        if self.layout not in get_args(Layout):
            raise ValueError(f"layout: {self.layout!r} is not known; give split or datacomp")
        if self.format not in get_args(Format):
            raise ValueError(f"format: {self.format!r} is not known; give webdataset, mds or both")
        if self.layout == "datacomp" and self.format == "mds":
            raise ValueError("layout: datacomp is one of tars; give format webdataset or both")
        if self.layout == "datacomp" and self.groups is not None:
            raise ValueError("layout: datacomp has one row of shards, and so no groups")

    @property
    def chooses(self) -> bool:
        """Whether samples may be left out."""
        return self.subset is not None or self.without is not None or self.where is not None


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """The samples of a split in their new order: their shard's number in the source, their place in it, their copy."""

    split: str
    shard: npt.NDArray[np.uint32]
    index: npt.NDArray[np.uint32]
    copy: npt.NDArray[np.uint32]
    shards: int

    def bounds(self) -> list[tuple[int, int]]:
        """The samples of each new shard, as a range."""
        return shard_sizes(len(self.shard), self.shards)


@dataclass(frozen=True, eq=False)
class ReshardPlan:
    """What becomes of a source: the plan of each split (or group) with samples, the source's samples, and a digest."""

    splits: tuple[SplitPlan, ...]
    source_samples: int
    digest: str
    groups: dict[str, Any] = field(default_factory=dict)  # what the manifest says of them

    @property
    def samples(self) -> int:
        """How many are taken."""
        return sum(len(plan.shard) for plan in self.splits)


def plan_reshard(source: ShardSource, settings: ReshardSettings) -> ReshardPlan:
    """Look at every sample's key (and, to choose, at its uid and metadata), and decide where it goes.

    The same source and settings give the same plan. Memory is some 20 bytes a sample. Raises UsageError for lists and
    conditions that cannot be used, and where no sample is left.
    """
    chosen = _Choice(settings)
    if settings.groups is not None and not source.metadata:
        raise UsageError(f"--group-by: {source.folder} has no metadata of pairmill")
    taken = _of_metadata(source, chosen, settings.groups) if source.metadata else _of_tars(source, chosen)
    counts = [len(of_shard.indexes) for of_shard in taken]
    all_samples = sum(of_shard.total for of_shard in taken)
    if not sum(counts):
        raise UsageError(f"none of the {all_samples:,} samples of {source.folder} is left; look at the lists")
    groups = dict(source.manifest.groups) if source.manifest is not None else {}
    wanted: list[tuple[str, str, list[Taken]]] = [(split, split, taken) for split in _splits(source)]
    if settings.groups is not None:
        groups = manifest_groups(settings.groups, _plan_groups(taken, settings.groups))
        wanted = [
            (split, f"{split}-{name}", [of_shard.having(values) for of_shard in taken])
            for split in dict.fromkeys(split_and_group(split)[0] for split in _splits(source))
            for name, values in groups["groups"].items()
        ]
    splits = []
    for split, name, mine in wanted:
        numbers = [
            n
            for n, shard in enumerate(source.shards)
            if len(mine[n].indexes) and (shard.split == split or (settings.groups and in_splits(shard.split, (split,))))
        ]
        if numbers:
            splits.append(_split(source, name, numbers, mine, settings))
    if settings.layout == "datacomp" and len(splits) > 1:
        raise UsageError(
            f"layout datacomp has one row of shards, {source.folder} has the splits "
            f"{', '.join(plan.split for plan in splits)}; choose one with --where \"split = '{splits[0].split}'\""
        )
    digest = hashlib.sha256(repr(settings).encode())
    digest.update(repr([tuple(shard) for shard in source.shards]).encode())
    for plan in splits:
        digest.update(plan.shard.tobytes() + plan.index.tobytes() + plan.copy.tobytes())
    return ReshardPlan(tuple(splits), all_samples, digest.hexdigest(), groups)


@dataclass(frozen=True, eq=False)
class Taken:
    """Of one shard: the places of the samples taken, how many samples it has, and the taken ones' group values."""

    indexes: npt.NDArray[np.uint32]
    total: int
    values: pl.Series | None = None

    def having(self, values: Collection[str | None]) -> Taken:
        """Those that have one of the values."""
        assert self.values is not None
        mine = self.values.is_in(list(values), nulls_equal=True).to_numpy()
        return Taken(self.indexes[mine], self.total)


def _splits(source: ShardSource) -> list[str]:
    return list(dict.fromkeys(shard.split for shard in source.shards))


def _plan_groups(taken: Sequence[Taken], groups: ShardGroups) -> dict[str, tuple[str | None, ...]]:
    values = pl.concat(of_shard.values for of_shard in taken if of_shard.values is not None)
    return plan_groups(dict(values.alias("value").value_counts(name="samples").iter_rows()), groups)


def _split(
    source: ShardSource, split: str, numbers: Sequence[int], taken: Sequence[Taken], settings: ReshardSettings
) -> SplitPlan:
    shard = np.concatenate([np.full(len(taken[n].indexes), n, dtype=np.uint32) for n in numbers])
    index = np.concatenate([taken[n].indexes for n in numbers])
    copy = np.concatenate([_copies(taken[n].indexes) for n in numbers])
    if settings.order == "shuffle":
        places = shard.astype(np.uint64) << np.uint64(32) | index.astype(np.uint64)
        mixed = mix(places, settings.seed, f"reshard {split}")
        again = copy > 0
        mixed[again] = mix(mixed[again] + copy[again], settings.seed, f"copies {split}")
        order = np.argsort(mixed, kind="stable")
        shard, index, copy = shard[order], index[order], copy[order]
    mean = sum(source.shards[n].bytes * len(taken[n].indexes) / taken[n].total for n in numbers) / len(shard)
    count = settings.count or shard_count(
        len(shard), mean, settings.target_bytes, settings.samples_per_shard, settings.multiple_of
    )
    return SplitPlan(split, shard, index, copy, min(count, len(shard)))


def _copies(indexes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """For sorted places, the number of each among its equals."""
    first = np.searchsorted(indexes, indexes, side="left")
    return (np.arange(len(indexes)) - first).astype(np.uint32)


class _Choice:
    """The lists and the condition, read and checked once."""

    def __init__(self, settings: ReshardSettings) -> None:
        self.needed = settings.chooses
        subset = _list("--subset", settings.subset)
        self.subset = None if subset is None else subset.value_counts(name="times").rename({subset.name: "value"})
        self.without = _list("--without", settings.without)
        self.where = None
        if settings.where is not None:
            try:
                self.where = pl.sql_expr(settings.where)
            except (pl.exceptions.PolarsError, ValueError) as error:
                raise UsageError(f"--where {settings.where}: {_first_line(error)}") from error
        self.condition = settings.where

    def times(self, frame: pl.DataFrame) -> npt.NDArray[np.uint32]:
        """How often each row is taken, of ``key``, perhaps ``uid``, and the columns of the condition."""
        names = [name for name in ("key", "uid") if name in frame.columns]
        keep = pl.lit(True)
        if self.without is not None:
            listed = self.without.unique().implode()
            keep &= ~pl.any_horizontal(pl.col(name).is_in(listed) for name in names)
        if self.where is not None:
            keep &= self.where
        try:
            kept = frame.select(kept=keep.fill_null(False)).get_column("kept").to_numpy()
        except pl.exceptions.PolarsError as error:
            raise UsageError(f"--where {self.condition}: {_first_line(error)}") from error
        times = np.broadcast_to(kept, frame.height).astype(np.uint32)
        if self.subset is not None:
            found = np.zeros(frame.height, dtype=np.uint32)
            for name in names:
                joined = frame.select(value=name).join(self.subset, on="value", how="left", maintain_order="left")
                found = np.maximum(found, joined.get_column("times").fill_null(0).to_numpy())
            times *= found
        return times


def _list(option: str, path: str | None) -> pl.Series | None:
    if path is None:
        return None
    try:
        return read_list(list_file(path))
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def _of_metadata(source: ShardSource, choice: _Choice, groups: ShardGroups | None) -> list[Taken]:
    numbers = {shard.name: number for number, shard in enumerate(source.shards)}
    places: list[list[pl.DataFrame]] = [[] for _ in source.shards]
    optional = [GROUP_VALUE] if groups is not None else []
    assert source.manifest is not None
    totals = [source.manifest.shards[shard.name] for shard in source.shards]
    needed = {"shard", "index"} | ({"key", "uid"} if choice.needed else set())
    if choice.where is not None:
        needed |= set(choice.where.meta.root_names())
    if groups is not None:
        needed.add(groups.by)
    for path in source.metadata:
        try:
            lazy = pl.scan_parquet(path, hive_partitioning=False)
            frame = lazy.select(name for name in lazy.collect_schema() if name in needed).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise PairmillError(f"{path} cannot be read: {_first_line(error)}") from error
        if groups is not None:
            if groups.by not in frame.columns:
                raise UsageError(f"--group-by: the metadata of {source.folder} have no column {groups.by!r}")
            frame = frame.with_columns(group_values(frame.get_column(groups.by), groups))
        if choice.needed:
            frame = frame[np.repeat(np.arange(frame.height), choice.times(frame))]
        for (name,), rows in frame.group_by("shard", maintain_order=True):
            if name not in numbers:
                raise PairmillError(f"{path} has rows of the shard {name!r}, which the manifest does not name")
            places[numbers[str(name)]].append(rows.select(pl.col("index").cast(pl.UInt32), *optional))
    taken = []
    schema = {"index": pl.UInt32(), **dict.fromkeys(optional, pl.String())}
    for shard, found, total in zip(source.shards, places, totals, strict=True):
        rows = pl.concat([pl.DataFrame(schema=schema), *found]).sort("index", maintain_order=True)
        indexes = rows.get_column("index").to_numpy()
        if (len(indexes) and indexes[-1] >= total) or (
            not choice.needed and not np.array_equal(indexes, np.arange(total))
        ):
            raise PairmillError(f"{source.folder}: the metadata are not those of {shard.name}.tar; verify the dataset")
        taken.append(Taken(indexes, total, rows.get_column(GROUP_VALUE) if groups is not None else None))
    return taken


def _of_tars(source: ShardSource, choice: _Choice) -> list[Taken]:
    if choice.where is not None:
        raise UsageError(f"--where: {source.folder} has no metadata of pairmill; choose by --subset or --without")
    taken = []
    for shard in source.shards:
        if choice.needed:
            schema = {"key": pl.String, "uid": pl.String}
            frame = pl.DataFrame(source.named(shard.name), schema=schema, orient="row")
            times = choice.times(frame)
        else:
            times = np.ones(len(source.places(shard.name)), dtype=np.uint32)
        taken.append(Taken(np.repeat(np.arange(len(times), dtype=np.uint32), times), len(times)))
    return taken


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
