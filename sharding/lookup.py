"""Single samples of a dataset by their place: a row of the metadata, an image out of its tar."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.metadata import FOLDER
from pairmill.sharding.nearest import Place
from pairmill.sharding.sample_index import dali_index_name


def metadata_rows(dataset: Path, places: Sequence[Place], columns: Iterable[str]) -> list[dict[str, Any]]:
    """The metadata of some samples, in the order of ``places``: those of ``columns`` that there are.

    Raises PairmillError, one line, when a shard's metadata is absent, damaged or shorter than its samples.
    """
    found: dict[Place, dict[str, Any]] = {}
    for shard in dict.fromkeys(place.shard for place in places):
        path = dataset / FOLDER / f"{shard}.parquet"
        wanted = sorted({place.number for place in places if place.shard == shard})
        try:
            lazy = pl.scan_parquet(path, hive_partitioning=False)
            there = lazy.collect_schema()
            rows = lazy.select(name for name in columns if name in there).with_row_index("row number")
            for row in rows.filter(pl.col("row number").is_in(wanted)).collect().iter_rows(named=True):
                found[Place(shard, row.pop("row number"))] = row
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise PairmillError(f"{path} cannot be read: {reason}") from error
    for place in places:
        if place not in found:
            raise PairmillError(f"{dataset / FOLDER / place.shard}.parquet has no row {place.number}: it is damaged")
    return [found[place] for place in places]


def read_image(dataset: Path, place: Place, key: str, image_ext: str) -> bytes:
    """The stored image of a sample, read at the place that the shard's own index gives.

    Raises PairmillError, one line, when tar or index is absent, or the index has another sample there.
    """
    tar = dataset / f"{place.shard}.tar"
    index = tar.with_name(dali_index_name(tar.name))
    name = f"{key}.{image_ext}"
    try:
        offset, size = _member(index, place.number, name)
        with open(tar, "rb") as file:
            image = os.pread(file.fileno(), size, offset)
    except OSError as error:
        raise PairmillError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise PairmillError(f"{index} has no {name} as sample {place.number}: it is damaged") from error
    if len(image) != size:
        raise PairmillError(f"{tar} ends before {name}: it is damaged")
    return image


def _member(index: Path, sample: int, name: str) -> tuple[int, int]:
    words = _lines(index)[sample + 1].split()
    places = {words[at + 3].decode(): (int(words[at + 1]), int(words[at + 2])) for at in range(0, len(words) - 3, 4)}
    if name not in places:
        raise ValueError(name)
    return places[name]


@lru_cache(maxsize=8)
def _lines(index: Path) -> list[bytes]:
    return index.read_bytes().split(b"\n")
