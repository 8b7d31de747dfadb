"""The embeddings of a shard's samples: from the columns of the work folder to a file beside each shard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.embeddings import HALF, EmbeddingFile, unpack_fp16, write_embeddings
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.exchange import read_partition
from pairmill.sharding.pair import ROW_BITS
from pairmill.transforms.bucket_order import first_buckets, vectors_kind
from pairmill.transforms.job import Job
from pairmill.transforms.sample_rows import group_rows, pieces
from pairmill.transforms.score_run import ScorerRun
from pairmill.transforms.shard_order import SplitOrder, load_orders


@dataclass(frozen=True)
class EmbeddingColumn:
    """A column of vectors: the scorer that made it, and what it is of (``image``, ``text``, ``text_recaption``)."""

    run: ScorerRun
    column: str

    @property
    def kind(self) -> str:
        """What the embedding is of."""
        return self.column.removeprefix(f"{self.run.name}_").replace("_embedding", "", 1)


def embedding_columns(job: Job) -> list[EmbeddingColumn]:
    """The embeddings that the dataset of this build holds, in the recipe's order."""
    return [EmbeddingColumn(run, column) for run in job.scorers for column in run.embedding_columns()]


def write_shard_embeddings(job: Job, name: str, order: SplitOrder, start: int, stop: int) -> list[EmbeddingFile]:
    """Write the embeddings of a split's samples from ``start`` to ``stop``, the shard ``name``; a file a column."""
    written = []
    for column in embedding_columns(job):
        vectors = (
            _kept_vectors(job, order.split, number, column)[first:last]
            for number, first, last in pieces(order, start, stop)
        )
        told = (job.dataset, column.run.name, column.kind, name)
        written.append(write_embeddings(*told, vectors, stop - start, job.embeddings))
    return written


def _kept_vectors(job: Job, split: str, number: int, column: EmbeddingColumn) -> npt.NDArray[np.float16]:
    """The vectors of a group; those of the last one asked for are kept, since the next shard begins in it."""
    last = _last_groups(job)
    group = (split, number)
    if last.get(column.column, (None,))[0] != group:
        last.pop(column.column, None)  # before the next ones are read: one group of a column is in memory
        last[column.column] = (group, _group_vectors(job, split, number, column))
    return last[column.column][1]


@lru_cache(maxsize=1)
def _last_groups(job: Job) -> dict[str, tuple[tuple[str, int], npt.NDArray[np.float16]]]:
    return {}


def _group_vectors(job: Job, split: str, number: int, column: EmbeddingColumn) -> npt.NDArray[np.float16]:
    """The vectors of a group of blocks in the order of its samples, [rows, width]; zeros where there is none."""
    run = column.run
    if job.shards.is_global:
        return _bucket_vectors(job, split, number, column)
    rows = group_rows(job, split, number).select(list(run.key))
    blocks = (rows.get_column("row_id") // (1 << ROW_BITS)).unique().sort().to_list()
    place = rows.with_row_index("place")
    vectors: npt.NDArray[np.float16] | None = None
    found = 0
    for block in blocks:  # one after another: vectors are large
        part = run.read(run.done([block], "scored" if run.scorer.reads == "image" else "texts"), [column.column])
        part = part.join(place, on=list(run.key), how="inner")
        found += part.height
        if vectors is None:
            vectors = np.zeros((rows.height, _width(run, part.get_column(column.column))), dtype=HALF)
        vectors[part.get_column("place").to_numpy()] = unpack_fp16(part.get_column(column.column), vectors.shape[1])
    if vectors is None or found != rows.height:
        raise PairmillError(
            f"{rows.height - found} samples have no {column.column}: the work folder was changed while it was in use; "
            "run the same command again"
        )
    return vectors


def _bucket_vectors(job: Job, split: str, number: int, column: EmbeddingColumn) -> npt.NDArray[np.float16]:
    """The vectors that lanes sent to a bucket, in the order of its samples."""
    orders = list(load_orders(job.parts / "orders.npz").values())
    kind = vectors_kind([told.column for told in embedding_columns(job)].index(column.column))
    sent = read_partition(job.all_exchanged(kind), first_buckets(orders)[split] + number)
    rows = group_rows(job, split, number).select("row_id").join(sent, on="row_id", how="left", maintain_order="left")
    told = rows.get_column(column.column)
    return unpack_fp16(told, _width(column.run, told))


def _width(run: ScorerRun, column: pl.Series) -> int:
    told = run.scorer.embedding_width()
    if told is not None:
        return told
    sizes = column.bin.size(unit="b").drop_nulls()
    if not len(sizes):
        raise PairmillError(f"scorer {run.name} gave no embedding at all in a block, and tells no width of its own")
    return int(sizes[0]) // HALF.itemsize
