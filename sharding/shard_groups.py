"""Shards of their own for each source, language or tier of a score: which group every row belongs to."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from pairmill.sharding.errors import UsageError

#: The value of the recipe's column, or the tier, of each kept row; no pool has a column of this name.
GROUP_VALUE = "shard group"
#: Groups that no value makes: of rows without a value, and of small groups joined.
NONE, OTHER = "none", "other"
#: More groups than anybody lists in a trainer's command; more values than a plan should hold.
MAX_GROUPS = 1000
MAX_VALUES = 20_000

_LABEL = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True, kw_only=True)
class ShardGroups:
    """Rows of one value of the column ``by`` have shards of their own; rows without a value are the group ``none``.

    ``cuts``: numbers that rise, for tiers of a score: below the first, from the first to below the second, and so on;
    ``names`` are those of the tiers, from the lowest, by default ``tier0``, ``tier1``, … Groups of fewer than
    ``min_samples`` samples (of all splits) are joined as ``other``, or refused: ``small``.
    """

    by: str
    cuts: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    min_samples: int = 1
    small: Literal["other", "refuse"] = "other"

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.cuts)) or sorted(set(self.cuts)) != list(self.cuts):
            raise ValueError("cuts: the numbers must rise")
        if self.names and not self.cuts:
            raise ValueError("names: are those of tiers; give cuts too")
        if self.names and len(self.names) != len(self.cuts) + 1:
            raise ValueError(
                f"names: {len(self.cuts)} cuts make {len(self.cuts) + 1} tiers; {len(self.names)} are named"
            )
        for name in self.names:
            if not _LABEL.fullmatch(name) or name in (NONE, OTHER) or self.names.count(name) > 1:
                raise ValueError(
                    f"names: {name!r} must be at most 40 lower-case letters, digits and _, given once, and not "
                    f"{NONE} or {OTHER}"
                )
        if self.min_samples < 1:
            raise ValueError(f"min_samples must be at least 1, not {self.min_samples}")

    @property
    def tiers(self) -> tuple[str, ...]:
        """The names of the tiers, lowest first; none where rows are grouped by value."""
        return self.names or tuple(f"tier{number}" for number in range(len(self.cuts) + 1 if self.cuts else 0))


def check_column(groups: ShardGroups, dtype: pl.DataType) -> str | None:
    """What is wrong with a column of this type as ``by``; None where nothing is."""
    numeric = dtype.is_numeric()
    if groups.cuts and not numeric:
        return f"is of type {dtype}; cuts need numbers"
    if not groups.cuts and (dtype.is_float() or dtype.is_nested()):
        return f"is of type {dtype}; group by text or whole numbers, or give cuts"
    return None


def group_values(column: pl.Series, groups: ShardGroups) -> pl.Series:
    """The value (as text) or the tier of each row, String; null where there is none, and for empty text and NaN.

    Raises UsageError for a column that rows cannot be grouped by.
    """
    if column.dtype == pl.Null:
        return pl.Series(GROUP_VALUE, [None] * len(column), dtype=pl.String)
    if (wrong := check_column(groups, column.dtype)) is not None:
        raise UsageError(f"shard groups: {groups.by!r} {wrong}")
    if not groups.cuts:
        return column.cast(pl.String).replace("", None).alias(GROUP_VALUE)
    numbers = column.cast(pl.Float64).fill_nan(None)
    told = pl.Series(groups.cuts, dtype=pl.Float64)
    place = told.search_sorted(numbers.fill_null(-math.inf), side="right")
    names = pl.Series(groups.tiers)[place.cast(pl.Int64)] if len(numbers) else pl.Series([], dtype=pl.String)
    return pl.DataFrame({"name": names, "number": numbers}).select(
        pl.when(pl.col("number").is_not_null()).then("name").alias(GROUP_VALUE)
    )[GROUP_VALUE]


def plan_groups(samples: Mapping[str | None, int], groups: ShardGroups) -> dict[str, tuple[str | None, ...]]:
    """The groups of a dataset by their names, each with the values of its rows; ``samples``: of each value.

    Tiers come from the lowest, other groups in the order of their names, ``other`` and ``none`` last. Raises UsageError
    for too many groups, and for small ones where the settings refuse them.
    """
    small = {value for value, count in samples.items() if count < groups.min_samples and value is not None}
    if small and groups.small == "refuse":
        told = sorted(f"{value} ({samples[value]:,})" for value in small if value is not None)
        more = f" and {len(told) - 10} more" if len(told) > 10 else ""
        raise UsageError(
            f"shard groups: {', '.join(told[:10])}{more} of {groups.by!r} have fewer than {groups.min_samples:,} "
            "samples; lower min_samples, or join them with small: other"
        )
    values = [value for value in samples if value is not None and value not in small]
    if len(values) > MAX_GROUPS:
        raise UsageError(
            f"shard groups: {groups.by!r} makes {len(values):,} groups of shards, {MAX_GROUPS:,} are the most; raise "
            "min_samples to join small ones, or group by another column"
        )
    named = _names(values) if not groups.cuts else {value: value for value in values}
    rank = {tier: number for number, tier in enumerate(groups.tiers)}
    planned: dict[str, tuple[str | None, ...]] = {
        name: (value,) for value, name in sorted(named.items(), key=lambda item: (rank.get(item[0], 0), item[1]))
    }
    if small:
        planned[OTHER] = tuple(sorted(value for value in small if value is not None))
    if None in samples:
        planned[NONE] = (None,)
    return planned


def manifest_groups(groups: ShardGroups, planned: Mapping[str, tuple[str | None, ...]]) -> dict[str, Any]:
    """What a manifest says of shard groups: ``by``, perhaps ``cuts``, and ``groups``, name to values."""
    told = {name: list(values) for name, values in planned.items()}
    return {"by": groups.by, **({"cuts": list(groups.cuts)} if groups.cuts else {}), "groups": told}


def _names(values: list[str]) -> dict[str, str]:
    """A name for each value: itself as far as file names allow, with a digest behind where two would be one."""
    plain = {value: re.sub(r"[^a-z0-9_]+", "_", value.lower())[:40].strip("_") for value in values}
    taken = [NONE, OTHER, *plain.values()]
    return {
        value: name if name and taken.count(name) == 1 else f"{name or 'value'}_{_digest(value)}"
        for value, name in plain.items()
    }


def _digest(value: str) -> str:
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
