"""Checking that a dataset's embeddings are what their descriptions say: one row a sample, of length 1, none torn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairmill.sharding.embeddings import (
    FOLDER,
    UNIT_TOLERANCE,
    EmbeddingError,
    EmbeddingSet,
    map_embeddings,
    read_description,
)
from pairmill.sharding.fault import Fault
from pairmill.sharding.nearest import BLOCK_ROWS


def summarise_embeddings(dataset: Path) -> tuple[list[dict[str, Any]], list[Fault]]:
    """What embeddings a dataset says it has, as JSON objects, and the descriptions that cannot be read."""
    found, faults = [], []
    for path in sorted((dataset / FOLDER).glob("*/*.json")):
        try:
            told = read_description(path)
        except EmbeddingError as error:
            faults.append(Fault(path.relative_to(dataset).as_posix(), _what(error, path)))
            continue
        found.append(
            {
                "scorer": told.scorer,
                "kind": told.kind,
                "encoding": told.encoding,
                "dimensions": told.dimensions,
                "samples": told.samples,
                "missing": sum(map(len, told.missing.values())),
            }
        )
    return found, faults


def verify_embeddings(dataset: Path, shards: Mapping[str, int]) -> list[Fault]:
    """Compare every file of embeddings with its description and the samples of its shard; reads them all.

    ``shards`` are those to look at, by name. A description that cannot be read is `summarise_embeddings`' to tell.
    """
    faults = []
    for path in sorted((dataset / FOLDER).glob("*/*.json")):
        try:
            told = read_description(path)
        except EmbeddingError:
            continue
        for shard, samples in shards.items():
            file = told.path(dataset, shard)
            name = file.relative_to(dataset).as_posix()
            try:
                array = map_embeddings(dataset, told, shard, samples)
                what = _check_rows(array, told, shard)
            except EmbeddingError as error:
                what = _what(error, file)
            if what:
                faults.append(Fault(name, what))
    return faults


def _check_rows(array: npt.NDArray[Any], told: EmbeddingSet, shard: str) -> str | None:
    missing = np.zeros(len(array), dtype=np.bool_)
    listed = [row for row in told.missing.get(shard, ()) if 0 <= row < len(array)]
    if len(listed) != len(told.missing.get(shard, ())):
        return "lacks rows that its description lists as missing"
    missing[listed] = True
    for first in range(0, len(array), BLOCK_ROWS):
        block = array[first : first + BLOCK_ROWS]
        gone = missing[first : first + BLOCK_ROWS]
        if block[gone].any():
            return f"row {first + int(np.flatnonzero(gone & block.any(axis=1))[0])} has an embedding, though missing"
        if told.encoding == "binary":
            continue
        wide = block.astype(np.float64)
        with np.errstate(invalid="ignore"):
            wrong = ~gone & ~(np.abs(np.einsum("ij,ij->i", wide, wide) - 1.0) <= UNIT_TOLERANCE)
        if wrong.any():
            return f"row {first + int(np.flatnonzero(wrong)[0])} is not of length 1, and not listed as missing"
    return None


def _what(error: EmbeddingError, path: Path) -> str:
    """The error without the name that it begins with, and without the advice to run the command that is running."""
    return str(error).removeprefix(f"{path} ").split("; shard-stats ")[0]
