"""Concepts in the captions of a build: lanes find and count them, one task adds up, and it is known who draws whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.exchange import BatchWriter, read_batch
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.mirror import fetched, fetched_all, listed, settle
from pairmill.sharding.value_list import ListFile, read_list
from pairmill.transforms.block_frame import read_rows
from pairmill.transforms.job import Job
from pairmill.transforms.mixture.concept_rule import NO_CONCEPT, NOT_DRAWN, ConceptRule
from pairmill.transforms.mixture.concepts import (
    ConceptMatcher,
    concept_cap,
    concept_identities,
    drawn_by,
    make_matcher,
)
from pairmill.transforms.mixture.settings import ConceptBalance

Counts = npt.NDArray[np.int64]

#: A row that could not be read may have no uid.
_NO_UID = "0" * 32


def count_pool_concepts(job: Job, lane: int) -> None:
    """Find and count the concepts of all rows of a lane, for a balance over the whole pool (kind ``concepts``)."""
    column = _balance(job).column
    batches = job.lane_plan().lane(lane)
    count_captions(job, lane, (read_rows(job, batch, "captions").select("row_id", column) for batch in batches))


def count_captions(job: Job, lane: int, batches: Iterable[pl.DataFrame]) -> None:
    """Find and count the concepts of the rows of each batch of a lane (kind ``concepts``)."""
    matcher, column = _matcher(job), _balance(job).column
    counts = np.zeros(len(matcher.names), dtype=np.int64)
    with BatchWriter(job.exchanged("concepts", lane)) as found:
        for rows in batches:
            row, concept = matcher.find(rows.get_column(column))
            ids = rows.get_column("row_id").to_numpy()[row]
            found.write(pl.DataFrame({"row_id": ids, "concept": concept.astype(np.uint32)}))
            counts += np.bincount(concept, minlength=len(counts))
    _save(_folder(job) / "counts" / f"{lane:06d}.npy", counts)


def sum_concepts(job: Job) -> None:
    """Add up what the lanes counted."""
    _save(_folder(job) / "counts.npy", _sum(_folder(job) / "counts"))


def with_concepts(job: Job, batch: Sequence[int], frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of a batch with the column that ConceptRule reads, where the balance is over the whole pool."""
    if not job.balances_pool:
        return frame
    lane, place = job.lane_plan().place_of(batch[0])
    why = rejected_by_concepts(job, lane, place, frame)
    return frame.with_columns(pl.Series(ConceptRule.column, why, dtype=pl.String).replace("", None))


def rejected_by_concepts(job: Job, lane: int, place: int, rows: pl.DataFrame) -> npt.NDArray[np.str_]:
    """Why the balance rejects each of ``rows`` (row_id, uid) of a batch; empty where it does not."""
    row, concept = _found(job, lane, place, rows)
    high, low = (half.to_numpy() for half in hex_halves(rows.get_column("uid").fill_null(_NO_UID)))
    drawn = drawn_by((high, low), row, concept, _chances(job), _identities(job), job.seed)
    matched = np.zeros(rows.height, dtype=bool)
    matched[row] = True
    unmatched = NO_CONCEPT if _balance(job).unmatched == "reject" else ""
    return np.where(matched, np.where(drawn, "", NOT_DRAWN), unmatched)


def kept_concepts(job: Job, lane: int, place: int, rows: pl.DataFrame) -> Counts:
    """Rows and samples of each concept, [2, concepts], among ``rows`` (row_id, samples) of a batch."""
    names = len(_matcher(job).names)
    row, concept = _found(job, lane, place, rows)
    copies = rows.get_column("samples").to_numpy().astype(np.int64)[row]
    counts = np.bincount(concept[copies > 0], minlength=names)
    return np.stack([counts, np.bincount(concept, weights=copies, minlength=names).astype(np.int64)])


def save_kept(job: Job, lane: int, counts: Counts) -> None:
    """Note the rows and samples of each concept that a lane writes."""
    _save(_folder(job) / "kept" / f"{lane:06d}.npy", counts)


def concept_table(job: Job) -> pl.DataFrame:
    """Every concept in the list's order, with ``pairs`` (what the chances hang on), ``rows`` kept and ``samples``."""
    rows, samples = _sum(_folder(job) / "kept")
    return pl.DataFrame(
        {"concept": list(_matcher(job).names), "pairs": _counts(job), "rows": rows, "samples": samples},
        schema={"concept": pl.String, "pairs": pl.Int64, "rows": pl.Int64, "samples": pl.Int64},
    )


def cap_of(job: Job) -> int:
    """The count up to which a concept keeps all its pairs."""
    return concept_cap(_balance(job), _counts(job))


def _found(job: Job, lane: int, place: int, rows: pl.DataFrame) -> tuple[Counts, Counts]:
    """The concepts of ``rows`` of a batch, which are in pool order: (place of the row, number of the concept)."""
    found = read_batch(job.exchanged("concepts", lane), place)
    ids, wanted = found.get_column("row_id").to_numpy(), rows.get_column("row_id").to_numpy()
    row = np.minimum(np.searchsorted(wanted, ids), max(0, len(wanted) - 1))
    there = wanted[row] == ids if len(wanted) else np.zeros(len(ids), dtype=bool)
    return row[there], found.get_column("concept").to_numpy()[there].astype(np.int64)


def _balance(job: Job) -> ConceptBalance:
    assert job.mixture is not None
    assert job.mixture.concepts is not None
    return job.mixture.concepts


def _matcher(job: Job) -> ConceptMatcher:
    return _matcher_of(_balance(job).file, _balance(job).ignore_case)


@lru_cache(maxsize=1)
def _matcher_of(listed: ListFile, ignore_case: bool) -> ConceptMatcher:
    return make_matcher(read_list(listed), ignore_case)


def _counts(job: Job) -> Counts:
    counts: Counts = np.load(fetched(_folder(job) / "counts.npy"), allow_pickle=False)
    return counts


@lru_cache(maxsize=1)
def _chances(job: Job) -> npt.NDArray[np.float64]:
    return np.minimum(cap_of(job) / np.maximum(_counts(job), 1), 1.0)


@lru_cache(maxsize=1)
def _identities(job: Job) -> npt.NDArray[np.uint64]:
    return concept_identities(_matcher(job).names)


def _folder(job: Job) -> Path:
    return job.parts / "concept_counts"


def _sum(folder: Path) -> Counts:
    total: Counts | None = None
    for path in fetched_all(listed(folder, "*.npy")):
        counts = np.load(fetched(path), allow_pickle=False)
        total = counts if total is None else total + counts
    assert total is not None  # every lane wrote one
    return total


def _save(path: Path, counts: Counts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    with attempt.open("wb") as file:
        np.save(file, counts)
    settle(attempt, path)
