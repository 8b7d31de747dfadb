"""The nearest embeddings of a dataset to a vector: every row compared, or those that an index proposes.

Rows are numbered over the whole dataset: the shards in the manifest's order, each in its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairmill.sharding.embeddings import EmbeddingError, EmbeddingSet, map_embeddings, read_descriptions

#: Rows compared at a time: a block of 512 dimensions takes 32 MiB as float32.
BLOCK_ROWS = 16_384


class Neighbour(NamedTuple):
    """A row of the dataset and its cosine with what was asked for."""

    row: int
    similarity: float


class Place(NamedTuple):
    """Where a row lies: its shard, and its number in there."""

    shard: str
    number: int


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one scorer and kind over all shards, mapped from their files."""

    told: EmbeddingSet
    shards: tuple[str, ...]
    arrays: tuple[npt.NDArray[np.generic], ...]  # one a shard
    starts: tuple[int, ...]  # the number of each shard's first row
    rows: int

    def place(self, row: int) -> Place:
        """Where a row lies; raises IndexError for one that is not there."""
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of {self.rows}")
        shard = bisect_right(self.starts, row) - 1
        return Place(self.shards[shard], row - self.starts[shard])

    def take(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.generic]:
        """The stored vectors of some rows, [rows, ...] in their order."""
        rows = np.asarray(rows, dtype=np.int64)
        taken = np.empty((len(rows), self.told.shape_of_row), dtype=self.told.dtype)
        homes = np.searchsorted(self.starts, rows, side="right") - 1
        for shard in np.unique(homes):
            here = homes == shard
            taken[here] = self.arrays[shard][rows[here] - self.starts[shard]]
        return taken

    def blocks(self, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[int, npt.NDArray[np.generic]]]:
        """All stored vectors: the number of a block's first row, and the block; no block crosses a shard."""
        for start, array in zip(self.starts, self.arrays, strict=True):
            for first in range(0, len(array), block_rows):
                yield start + first, array[first : first + block_rows]

    def missing(self) -> npt.NDArray[np.int64]:
        """The rows without embedding, in order."""
        starts = dict(zip(self.shards, self.starts, strict=True))
        rows = [
            starts[shard] + row for shard, missing in self.told.missing.items() if shard in starts for row in missing
        ]
        return np.array(sorted(rows), dtype=np.int64)


def read_embeddings(dataset: Path, scorer: str, kind: str, shards: Mapping[str, int]) -> Embeddings:
    """Map the embeddings of ``scorer`` and ``kind`` for all ``shards`` (name to samples, the manifest's).

    Raises EmbeddingError when the dataset has none, and when a file of them is absent, damaged or of another shape.
    """
    known = {(told.scorer, told.kind): told for told in read_descriptions(dataset)}
    if (scorer, kind) not in known:
        there = ", ".join(f"{a} {b}" for a, b in known) or "none"
        raise EmbeddingError(f"{dataset} has no embeddings of {scorer} {kind}; there are: {there}")
    told = known[scorer, kind]
    arrays = tuple(map_embeddings(dataset, told, shard, samples) for shard, samples in shards.items())
    ends = tuple(accumulate(shards.values()))
    return Embeddings(told, tuple(shards), arrays, (0, *ends[:-1]), ends[-1] if ends else 0)


def query_vector(vector: npt.ArrayLike, told: EmbeddingSet) -> npt.NDArray[np.float32]:
    """A model's embedding as it compares with stored ones: as many dimensions, of length 1.

    Raises ValueError for another width than the stored ones had, and for a vector without direction.
    """
    wide = np.asarray(vector, dtype=np.float64).reshape(-1)
    if len(wide) != told.width:
        raise ValueError(f"the query has {len(wide)} dimensions, the embeddings of {told.scorer} have {told.width}")
    cut = wide[: told.dimensions]
    length = float(np.linalg.norm(cut))
    if not (np.isfinite(length) and length > 0):
        raise ValueError("the model gives no embedding for the query (zeros, or values that are not finite)")
    return (cut / length).astype(np.float32)


def similarities(
    stored: npt.NDArray[np.generic], queries: npt.NDArray[np.float32], told: EmbeddingSet
) -> npt.NDArray[np.float32]:
    """The cosines of stored vectors with queries of length 1, [rows, queries].

    A binary embedding stands for the vector of its signs.
    """
    if told.encoding == "binary":
        bits = np.unpackbits(stored, axis=1).astype(np.float32)  # type: ignore[arg-type]
        # The signs are 2b - 1, and the length of their vector the root of their number.
        return np.asarray((2 * (bits @ queries.T) - queries.sum(axis=1)) / np.sqrt(np.float32(told.dimensions)))
    return np.asarray(stored.astype(np.float32) @ queries.T)


def nearest_exact(embeddings: Embeddings, queries: npt.NDArray[np.float32], top: int) -> list[list[Neighbour]]:
    """For each of the ``queries`` [queries, dimensions] the ``top`` rows of the highest cosine, highest first.

    Equal ones come by row; rows without embedding never come. One pass over the embeddings, a block at a time.
    """
    missing = embeddings.missing()
    rows = np.empty((0, len(queries)), dtype=np.int64)
    found = np.empty((0, len(queries)), dtype=np.float32)
    for first, block in embeddings.blocks():
        cosines = similarities(block, queries, embeddings.told)
        gone = missing[np.searchsorted(missing, first) : np.searchsorted(missing, first + len(block))] - first
        cosines[gone] = -np.inf
        numbers = np.broadcast_to(np.arange(first, first + len(block))[:, None], cosines.shape)
        rows, found = _best(np.concatenate([rows, numbers]), np.concatenate([found, cosines]), top)
    return [
        [Neighbour(int(row), float(cosine)) for row, cosine in zip(*one, strict=True) if np.isfinite(cosine)]
        for one in zip(rows.T, found.T, strict=True)
    ]


def nearest_of(
    embeddings: Embeddings, query: npt.NDArray[np.float32], rows: npt.NDArray[np.integer], top: int
) -> list[Neighbour]:
    """The ``top`` of some ``rows`` by their exact cosine: what an index proposed, in its true order."""
    present = np.setdiff1d(np.asarray(rows, dtype=np.int64), embeddings.missing())
    cosines = similarities(embeddings.take(present), query[None], embeddings.told)
    best, found = _best(present[:, None], cosines, top)
    return [Neighbour(int(row), float(cosine)) for row, cosine in zip(best[:, 0], found[:, 0], strict=True)]


def _best(
    rows: npt.NDArray[np.int64], cosines: npt.NDArray[np.float32], top: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The ``top`` of each column, highest first."""
    if len(rows) > 4 * top:  # a sort costs more than a look for the bound that only the best reach
        bound = np.partition(cosines, len(cosines) - top, axis=0)[len(cosines) - top]
        keep = (cosines >= bound).any(axis=1)
        rows, cosines = rows[keep], cosines[keep]
    order = np.lexsort((rows, -cosines), axis=0)[:top]
    return np.take_along_axis(rows, order, axis=0), np.take_along_axis(cosines, order, axis=0)
