"""Rows with close embeddings, among the rows that images and captions leave alive.

Lanes write their vectors into files that are mapped from then on; one task trains clusters on a sample; lanes send
their rows to partitions by the clusters that each is compared in; partitions compare, cluster by cluster; one task,
over the pairs alone, decides who survives.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.embeddings import HALF, EmbeddingFormat, stored_rows
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.exchange import BatchWriter, PartitionWriter, read_all, read_batch, read_partition
from pairmill.sharding.mirror import fetched, listed, settle
from pairmill.sharding.publish import publish_bytes
from pairmill.transforms.duplicate_rank import rank_rows
from pairmill.transforms.duplicates.clusters import Centroids, clusters_to_visit, train_clusters
from pairmill.transforms.duplicates.semantic import (
    Vectors,
    cluster_pairs,
    draw,
    first_of_equal,
    home_cosines,
    survivors,
    vector_keys,
)
from pairmill.transforms.job import Job
from pairmill.transforms.living_rows import CAPTIONS, EMBEDDINGS, LivingBatch, living_batches, write_found
from pairmill.transforms.score_run import ScorerRun
from pairmill.transforms.shard_order import mix
from pairmill.transforms.vector_store import MappedVectors, VectorWriter

_KEYS = {"key_hi": pl.UInt64(), "key_lo": pl.UInt64(), "vector": pl.Int64()}


def store_vectors(job: Job, lane: int) -> None:
    """Write the vectors of the lane's living rows, and ``vectors``: who they are, a record batch a batch of blocks.

    Rows without an embedding (none measured, zeros, values that are not finite, another width) are not compared.
    """
    phases = (CAPTIONS,) if job.duplicates.compares_captions else ()
    widths: Counter[int] = Counter()
    absent = 0
    with (
        VectorWriter(job.parts / "vector_files", lane) as files,
        BatchWriter(job.exchanged("vectors", lane)) as rows,
    ):
        for batch in living_batches(job, lane, phases, second_chance=True):
            vectors, there = _vectors(job, batch)
            keys = vector_keys(vectors)
            rows.write(
                batch.ranks.filter(pl.Series(there)).with_columns(
                    key_hi=pl.Series(keys[:, 0]), key_lo=pl.Series(keys[:, 1]), vector=pl.Series(files.add(vectors))
                )
            )
            widths.update({vectors.shape[1]: len(vectors)} if len(vectors) else {})
            absent += int((~there).sum())
    told = {"widths": {str(width): count for width, count in widths.items()}, "absent": absent}
    path = job.parts / "vector_told" / f"{lane:06d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    publish_bytes(path, json.dumps(told).encode())


def train(job: Job) -> None:
    """Train the clusters on a sample of all lanes' vectors that does not depend on lanes; writes ``centroids.npy``."""
    settings = job.duplicates.semantic_match
    width, rows, _ = _told(job)
    clusters = settings.clusters_of(rows) if rows else 0
    wanted = clusters * settings.sample_per_cluster
    lowest = pl.DataFrame(schema={**_KEYS, "lot": pl.UInt64()})
    for path in job.all_exchanged("vectors") if wanted else []:
        for batch in range(len(job.lane_plan().lane(int(path.stem)))):
            frame = read_batch(path, batch)
            lot = mix(frame.get_column("uid_lo").to_numpy(), job.seed, "semantic sample")
            some = pl.concat([lowest, frame.select(list(_KEYS)).with_columns(lot=pl.Series(lot, dtype=pl.UInt64))])
            lowest = some.bottom_k(wanted, by=["lot", "key_hi", "key_lo"]) if some.height > 2 * wanted else some
    sample = np.empty((0, max(1, width)), dtype=HALF)
    if wanted:
        keys = lowest.select("key_hi", "key_lo").to_numpy()
        drawn = lowest.get_column("vector").to_numpy()[draw(lowest.get_column("lot").to_numpy(), keys, wanted)]
        sample = _mapped(job, width)[drawn]
    threads = job.inference.shared_among(1).threads or 1  # it is alone
    centroids = train_clusters(sample, max(1, clusters), settings.iterations, threads)
    path = job.parts / "centroids.npy"
    attempt = attempt_path(path)
    with attempt.open("xb") as file:
        np.save(file, centroids)
    settle(attempt, path)


def visit(job: Job, lane: int) -> None:
    """Send each row to the clusters that it is compared in; kind written: ``visits``, to partitions by cluster."""
    settings, partitions = job.duplicates.semantic_match, job.lane_plan().partitions
    centroids = Centroids(_centroids(job))
    vectors = _mapped(job, centroids.vectors.shape[1])
    with PartitionWriter(job.parts / "visits", lane, partitions) as visits:
        for batch in range(len(job.lane_plan().lane(lane))):
            rows = read_batch(job.exchanged("vectors", lane), batch)
            numbers = rows.get_column("vector").to_numpy()
            nearness = np.zeros(rows.height)
            clusters = np.full((rows.height, 1), -1, dtype=np.int64)
            if rows.height:
                clusters = clusters_to_visit(vectors, numbers, centroids, settings.probes, settings.way, _threads(job))
                if settings.keep != "survivor":
                    nearness = home_cosines(vectors, numbers, centroids.vectors, clusters[:, 0])
            row, place = np.nonzero(clusters >= 0)
            sent = rows.with_columns(nearness=pl.Series(nearness))[row]
            cluster = clusters[row, place]
            sent = sent.with_columns(cluster=pl.Series(cluster, dtype=pl.Int64))
            visits.add(sent, cluster % partitions)


def compare(job: Job, partition: int) -> None:
    """Compare the rows of each cluster of a partition. Kinds: ``close`` (better, worse row), ``close_rows``: who
    they are, with the ``first`` row of their vector."""
    rows = read_partition(job.all_exchanged("visits"), partition)
    who = rows.unique("row_id", keep="any").drop("cluster")
    who = who.with_columns(rank=pl.Series(_rank(job, who), dtype=pl.Int64))
    # A row goes the way of the first one with its vector, which is compared for all of them.
    who = who.sort("rank")
    first = first_of_equal(who.select("key_hi", "key_lo").to_numpy())
    who = who.with_columns(first=who.get_column("row_id").gather(first))
    single = who.filter(pl.col("row_id") == pl.col("first")).select("row_id", "rank")
    rows = rows.join(single, on="row_id", how="inner").sort("cluster", "rank")
    centroids = _centroids(job)
    vectors: Any = _mapped(job, centroids.shape[1])
    least = 1 - job.duplicates.semantic_match.eps
    numbers = rows.get_column("vector").to_numpy()
    bounds = np.flatnonzero(np.diff(rows.get_column("cluster").to_numpy(), prepend=-1, append=-1))

    def pairs(number: int) -> npt.NDArray[np.int64]:
        members = slice(bounds[number], bounds[number + 1])
        return np.stack(cluster_pairs(vectors, numbers[members], least)) + bounds[number]

    with ThreadPoolExecutor(_threads(job)) as pool:
        found = list(pool.map(pairs, range(len(bounds) - 1)))
    ids = rows.get_column("row_id").to_numpy()
    better, worse = ids[np.concatenate([np.empty((2, 0), dtype=np.int64), *found], axis=1)]
    with BatchWriter(job.exchanged("close", partition)) as close:
        close.write(pl.DataFrame({"better": better, "worse": worse}, schema={"better": pl.UInt64, "worse": pl.UInt64}))
    same = who.filter(pl.col("row_id") != pl.col("first"))
    ends = np.unique(np.concatenate([better, worse, same.select("row_id", "first").to_numpy().ravel()]))
    with BatchWriter(job.exchanged("close_rows", partition)) as close_rows:
        named = who.join(pl.DataFrame({"row_id": ends}, schema={"row_id": pl.UInt64}), on="row_id", how="semi")
        close_rows.write(named.drop(*_KEYS, "rank").sort("row_id"))


def claim_embeddings(job: Job) -> None:
    """Who survives of rows with close embeddings; writes ``found_embeddings``. One task, over pairs alone."""
    settings = job.duplicates
    rows = read_all(job.all_exchanged("close_rows")).unique("row_id", keep="any").sort("row_id")
    pairs = read_all(job.all_exchanged("close")).unique()
    ids = rows.get_column("row_id").to_numpy()
    rank = _rank(job, rows)
    better, worse = (rank[np.searchsorted(ids, pairs.get_column(name).to_numpy())] for name in ("better", "worse"))
    order = np.argsort(rank)
    first = rank[np.searchsorted(ids, rows.get_column("first").to_numpy()[order])]
    owner = order[survivors(better, worse, first, settings.semantic_match.grouping)][rank]
    kept = rows.select(survivor=pl.col("row_id").gather(owner), survivor_group=pl.col("group").gather(owner))
    reason = pl.lit("semantic_duplicate" if settings.semantic == "reject" else None, dtype=pl.String)
    found = rows.select("row_id", "group", duplicate=reason).hstack(kept)
    write_found(job, EMBEDDINGS, found.filter(pl.col("row_id") != pl.col("survivor")))


def semantic_report(job: Job) -> dict[str, int]:
    """What embeddings were compared: ``rows``, rows ``without_embedding``, and ``clusters``."""
    _, rows, absent = _told(job)
    return {"rows": rows, "without_embedding": absent, "clusters": len(_centroids(job)) if rows else 0}


def _vectors(job: Job, batch: LivingBatch) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """The vectors of the rows that have one, of length 1, and which rows these are."""
    column = job.duplicates.semantic_match.column
    run = next((run for run in job.scorers if column in run.embedding_columns()), None)
    values = batch.rows.get_column(column) if run is None else _measured(run, batch, column)
    parsed = [_of_text(value) if run is None else np.frombuffer(value or b"", dtype=HALF) for value in values]
    widths = Counter(len(vector) for vector in parsed if len(vector))
    width = min(widths, key=lambda size: (-widths[size], size)) if widths else 1
    vectors = np.zeros((len(parsed), width), dtype=np.float64)
    for row, vector in enumerate(parsed):
        if len(vector) == width:
            vectors[row] = vector
    with np.errstate(over="ignore", invalid="ignore"):
        stored, absent = stored_rows(_scaled(vectors), EmbeddingFormat())
    return stored[~absent], ~absent


def _scaled(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of length 1 where there is one: raw embeddings may hold numbers beyond float16."""
    # By the largest number first: the squares of large ones are beyond float64.
    vectors = vectors / _or_one(np.abs(vectors).max(axis=1))[:, None]
    return vectors / _or_one(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))[:, None]


def _or_one(lengths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(lengths > 0, lengths, 1.0)


def _of_text(value: str | None) -> npt.NDArray[np.float64]:
    """A list of numbers as the pool's reader writes nested values; empty for anything else."""
    try:
        return np.asarray(json.loads(value or "[]"), dtype=np.float64).reshape(-1)
    except (ValueError, TypeError):
        return np.empty(0)


def _measured(run: ScorerRun, batch: LivingBatch, column: str) -> pl.Series:
    """The scorer's embeddings of the rows, as they are stored."""
    moment = "scored" if run.scorer.reads == "image" else "texts"
    parts = [run.read(run.done([block], moment), [column]) for block in batch.blocks]
    joined = batch.rows.join(pl.concat(parts), on=list(run.key), how="left", maintain_order="left")
    return joined.get_column(column)


def _told(job: Job) -> tuple[int, int, int]:
    """The width of all vectors, how many there are, and how many rows have none."""
    told = [json.loads(path.read_bytes()) for path in listed(job.parts / "vector_told", "*.json")]
    widths: Counter[int] = Counter()
    for lane in told:
        widths.update({int(width): count for width, count in lane["widths"].items()})
    if len(widths) > 1:
        all_widths = ", ".join(f"{count} of {width} numbers" for width, count in sorted(widths.items()))
        raise PairmillError(
            f"duplicates.semantic_match.column: {job.duplicates.semantic_match.column} holds vectors of different "
            f"widths ({all_widths}); these are not of one model"
        )
    return next(iter(widths), 0), sum(widths.values()), sum(lane["absent"] for lane in told)


def _rank(job: Job, rows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """The order of survival of rows with ``nearness``, the cosine with the centroid of their cluster."""
    rank = rank_rows(rows, job.duplicates)
    keep = job.duplicates.semantic_match.keep
    if keep == "survivor":
        return rank
    nearness = rows.get_column("nearness").to_numpy()
    order = np.lexsort((rank, nearness if keep == "furthest" else -nearness))
    rank[order] = np.arange(len(order))
    return rank


def _mapped(job: Job, width: int) -> Any:
    return MappedVectors(job.parts / "vector_files", max(1, width))


def _centroids(job: Job) -> Vectors:
    centroids: Vectors = np.load(fetched(job.parts / "centroids.npy"), allow_pickle=False)
    return centroids


def _threads(job: Job) -> int:
    return job.inference.shared_among(job.lane_plan().lanes).threads or 1
