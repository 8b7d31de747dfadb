"""Reading a dataset's ``metadata/*.parquet``: one row per sample, of which only the columns at hand are used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pairmill.sharding.fault import Fault
from pairmill.sharding.statistics import Distribution, aspect_ratios, distribution

FOLDER = "metadata"
_COLUMNS = ("width", "height", "lang")
_PLACES = ("key", "shard", "index")


@dataclass(frozen=True)
class Metadata:
    """The columns that exist (``caption`` only as its length, ``caption_length``), and the files that do not read."""

    rows: pl.DataFrame
    faults: tuple[Fault, ...]

    def measures(self) -> dict[str, Any]:
        """Arrays by measure's name: width, height, aspect and caption_length, as far as the columns exist."""
        found: dict[str, Any] = {}
        columns = set(self.rows.columns)
        if {"width", "height"} <= columns:
            sizes = self.rows.select("width", "height").filter(pl.col("width") > 0, pl.col("height") > 0)
            found["width"], found["height"] = sizes["width"].to_numpy(), sizes["height"].to_numpy()
            found["aspect"] = aspect_ratios(found["width"], found["height"])
        if "caption_length" in columns:
            found["caption_length"] = self.rows["caption_length"].drop_nulls().to_numpy().astype(np.int64)
        return found

    def languages(self) -> Mapping[str, int]:
        """Samples by language; "" where it is not known."""
        if "lang" not in self.rows.columns:
            return {}
        return dict(self.rows.select(pl.col("lang").cast(pl.String).fill_null("")).group_by("lang").len().iter_rows())

    def keys_by_shard(self) -> dict[str, list[str]] | None:
        """The keys of each shard in their order; None without the columns shard, index and key."""
        if not {"shard", "index", "key"} <= set(self.rows.columns):
            return None
        grouped = self.rows.sort("shard", "index").group_by("shard", maintain_order=True).agg("key")
        return dict(grouped.iter_rows())


def read_metadata(folder: Path, splits: Collection[str] | None = None, keys: bool = False) -> Metadata | None:
    """The rows of ``splits`` (all where None); ``keys`` says whether to read keys and places, too.

    ``folder`` is the dataset's. None when it has no metadata; a file that cannot be read is a fault in the result.
    """
    files = sorted((folder / FOLDER).glob("*.parquet"))
    if not files:
        return None
    wanted = _COLUMNS + _PLACES if keys else _COLUMNS
    frames, faults = [], []
    for file in files:
        try:
            frames.append(_read(file, wanted, splits))
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            faults.append(Fault(f"{FOLDER}/{file.name}", f"cannot be read: {reason[0]}"))
    rows = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
    return Metadata(rows, tuple(faults))


def score_distributions(folder: Path, splits: Collection[str] | None = None) -> dict[str, Distribution]:
    """The distributions of the columns of fractions (scores, in a pairmill dataset), by name in the files' order.

    ``splits`` as in ``read_metadata``. One column is in memory at a time. Files that cannot be read are left out:
    ``read_metadata`` tells of them.
    """
    files = sorted((folder / FOLDER).glob("*.parquet"))
    names: dict[str, None] = {}
    for file in files:
        with suppress(OSError, pl.exceptions.PolarsError):
            names |= {name: None for name, dtype in pl.read_parquet_schema(file).items() if dtype.is_float()}
    found: dict[str, Distribution] = {}
    for name in names:
        parts = [np.empty(0, dtype=np.float32)]
        for file in files:
            with suppress(OSError, pl.exceptions.PolarsError):  # a file may lack the column, too
                values = _of_splits(file, splits).select(name).collect().to_series().drop_nulls().to_numpy()
                parts.append(values[np.isfinite(values)])
        spread = distribution(np.concatenate(parts))
        if spread is not None:
            found[name] = spread
    return found


def _read(file: Path, wanted: Collection[str], splits: Collection[str] | None) -> pl.DataFrame:
    lazy = _of_splits(file, splits)
    there = lazy.collect_schema()
    columns: list[pl.Expr] = [pl.col(name) for name in wanted if name in there]
    if there.get("caption") == pl.String:
        columns.append(pl.col("caption").str.len_chars().alias("caption_length"))
    return lazy.select(columns).collect()


def _of_splits(file: Path, splits: Collection[str] | None) -> pl.LazyFrame:
    lazy = pl.scan_parquet(file, hive_partitioning=False)
    there = lazy.collect_schema()
    if splits is not None and "shard" in there:
        split = pl.col("shard").str.replace(r"-\d{5,}-of-\d{5,}$", "")
        return lazy.filter(split.is_in(list(splits)) | split.str.replace(r"-.*$", "").is_in(list(splits)))
    if splits is not None and "split" in there:
        return lazy.filter(pl.col("split").is_in(list(splits)))
    return lazy
