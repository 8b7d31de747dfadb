"""Rows of one image, among the rows still alive: groups of equal bytes by partition, then near pictures in one task.

The near search holds some numbers of every picture; thumbnails lie in one mapped file, and what lanes must know is
written partition by partition.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.exchange import BatchWriter, read_batch, write_partitions
from pairmill.sharding.mirror import fetched, settle
from pairmill.sharding.publish import publish_bytes
from pairmill.transforms.duplicate_rank import rank_rows
from pairmill.transforms.duplicate_settings import DuplicateAction
from pairmill.transforms.duplicates.equal import equal_groups
from pairmill.transforms.duplicates.near import NearResult, near_duplicates
from pairmill.transforms.duplicates.pictures import THUMBNAIL_BYTES, Pictures
from pairmill.transforms.images_in_builds import new_rows
from pairmill.transforms.job import Job
from pairmill.transforms.share_step import lanes_of

#: What a lane learns of a row that has a duplicate: the reason if it is rejected (else null), who is kept instead (or
#: would be; itself where it is the best of its group), the identity of its group (low half of the best row's uid; the
#: smallest of those that captions or embeddings join), and how many living rows of the pool the group has.
DUPLICATE_COLUMNS: dict[str, pl.DataType] = {
    "row_id": pl.UInt64(),
    "duplicate": pl.String(),
    "survivor": pl.UInt64(),
    "group": pl.UInt64(),
    "count": pl.UInt32(),
}


def find_equal(job: Job, partition: int) -> None:
    """Groups of one URL and of equal bytes in a partition.

    Kinds written: ``equal`` (row → survivor), ``pictures`` (one row of each group), and their thumbnails as plain
    bytes.
    """
    rows = new_rows(job, partition)
    settings = job.duplicates
    reason = np.full(rows.height, None, dtype=object)
    survivor = np.arange(rows.height)
    rank = rank_rows(rows, settings)
    for kind, action, keys in (
        ("duplicate_url", settings.url, ["place", "sha_hi"]),
        ("duplicate_sha256", settings.sha256, ["sha_hi", "sha_lo"]),
    ):
        _apply(kind, action, rows.select(keys).to_numpy(), rank, reason, survivor)
    ids = rows.get_column("row_id").to_numpy()
    found = pl.DataFrame(
        {
            "row_id": ids,
            "duplicate": pl.Series(reason.tolist(), dtype=pl.String),
            "survivor": ids[_roots(survivor)],
        }
    )
    with BatchWriter(job.exchanged("equal", partition)) as equal:
        equal.write(found.filter(pl.col("row_id") != pl.col("survivor")))
    alive = found.get_column("duplicate").is_null() & (found.get_column("row_id") == found.get_column("survivor"))
    compared = rows.filter(alive)
    _write_thumbnails(_thumbnails_of(job, partition), compared.get_column("thumbnail"))
    with BatchWriter(job.exchanged("pictures", partition)) as pictures:
        pictures.write(compared.drop("thumbnail", "place", "sha_hi", "sha_lo"))


def find_near(job: Job) -> None:
    """Near pictures among one row of each group; writes ``duplicates``, everything a lane must know of its rows."""
    partitions = range(len(job.all_exchanged("pictures")))
    if job.duplicates.near == "off":  # nothing joins rows of two partitions
        for partition in partitions:
            _settle(job, [partition])
    elif partitions:
        _settle(job, partitions)


def _settle(job: Job, partitions: Sequence[int]) -> None:
    """Find what is near among the pictures of some partitions, and tell lanes of these and of what is equal to them."""
    parts = [read_batch(job.exchanged("pictures", partition), 0) for partition in partitions]
    equal = [job.exchanged("equal", partition) for partition in partitions]
    pictures = pl.concat(parts)
    ids = pictures.get_column("row_id").to_numpy()
    survivor = star = np.arange(len(ids))
    if job.duplicates.near != "off" and len(ids):
        found = near_duplicates(
            Pictures(
                phash=pictures.get_column("phash").to_numpy(),
                thumbnails=_all_thumbnails(job, partitions, len(ids)),
                width=pictures.get_column("width").to_numpy(),
                height=pictures.get_column("height").to_numpy(),
            ),
            rank=rank_rows(pictures, job.duplicates),
            settings=job.duplicates.near_match,
            grouping=job.duplicates.grouping,
        )
        survivor, star = found.survivor, found.star
        _note_oversized(job, ids, found)
    behind = np.concatenate([_rows_behind(part, path) for part, path in zip(parts, equal, strict=True)])
    near = pl.DataFrame(
        {
            "row_id": ids,
            "near_survivor": ids[survivor],
            "root": pictures.get_column("uid_lo").to_numpy()[star],
            "count": np.bincount(star, weights=behind, minlength=len(star))[star].astype(np.uint32),
        }
    )
    start = 0
    for partition, part, path in zip(partitions, parts, equal, strict=True):
        rejects = job.duplicates.near == "reject"
        everything = _everything(near.slice(start, part.height), read_batch(path, 0), rejects)
        lanes = lanes_of(job, everything.get_column("row_id"))
        write_partitions(job.exchanged("duplicates", partition), everything, lanes, job.lane_plan().lanes)
        start += part.height


def _apply(
    kind: str,
    action: DuplicateAction,
    keys: np.ndarray,
    rank: np.ndarray,
    reason: np.ndarray,
    survivor: np.ndarray,
) -> None:
    living = np.flatnonzero([value is None for value in reason])
    if action == "off" or not len(living):
        return
    found = living[equal_groups(keys[living], rank[living])]
    moved = found != living
    survivor[living[moved]] = found[moved]
    if action == "reject":
        reason[living[moved]] = kind


def _roots(survivor: np.ndarray) -> np.ndarray:
    roots = survivor
    while not np.array_equal(roots, roots[roots]):
        roots = roots[roots]
    return roots


def _rows_behind(pictures: pl.DataFrame, equal: Path) -> npt.NDArray[np.int64]:
    """How many living rows each picture of a partition stands for: itself, and those that are equal to it."""
    counts = read_batch(equal, 0).group_by("survivor").agg(rows=pl.len())
    joined = pictures.select("row_id").join(
        counts, left_on="row_id", right_on="survivor", how="left", maintain_order="left"
    )
    return joined.get_column("rows").fill_null(0).to_numpy().astype(np.int64) + 1


def _everything(near: pl.DataFrame, equal: pl.DataFrame, rejects: bool) -> pl.DataFrame:
    """DUPLICATE_COLUMNS of every row that has a duplicate, from near pictures and from equal ones."""
    reason = pl.lit("near_duplicate" if rejects else None, dtype=pl.String)
    moved = pl.col("row_id") != pl.col("near_survivor")
    # A row of a group too large to collapse survives, and still has its group: no split may part it.
    of_near = near.filter(pl.col("count") > 1).select(
        "row_id",
        duplicate=pl.when(moved).then(reason),
        survivor="near_survivor",
        group="root",
        count="count",
    )
    # A row that is equal to a picture which is itself a near duplicate goes the way of that picture.
    follows = pl.when(pl.col("near_survivor") != pl.col("survivor")).then(reason)
    # A picture that is only measured as a near duplicate stays, and so is the one that is kept instead.
    kept = pl.col("near_survivor" if rejects else "survivor")
    of_equal = equal.join(near.rename({"row_id": "survivor"}), on="survivor", how="left", maintain_order="left").select(
        "row_id", duplicate=pl.coalesce("duplicate", follows), survivor=kept, group="root", count="count"
    )
    return pl.concat([of_near, of_equal]).sort("row_id").cast(DUPLICATE_COLUMNS)  # type: ignore[arg-type]


def _note_oversized(job: Job, ids: np.ndarray, found: NearResult) -> None:
    """Leave the groups that were too large to collapse where the report finds them."""
    groups = [{"row_id": int(ids[group.survivor]), "rows": len(group.members) + 1} for group in found.oversized]
    publish_bytes(job.parts / "oversized_groups.json", json.dumps(groups).encode())


def _thumbnails_of(job: Job, partition: int) -> Path:
    return job.parts / "thumbnails" / f"{partition:06d}.bin"


def _write_thumbnails(path: Path, column: pl.Series) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    attempt.write_bytes(b"".join(column.to_list()))
    settle(attempt, path)


def _all_thumbnails(job: Job, partitions: Sequence[int], rows: int) -> npt.NDArray[np.uint8]:
    """The thumbnails of all partitions, one below another, as a mapped file."""
    path = job.parts / "thumbnails.bin"
    attempt = attempt_path(path)
    with attempt.open("wb") as file:
        for partition in partitions:
            with fetched(_thumbnails_of(job, partition)).open("rb") as part:
                shutil.copyfileobj(part, file, 1 << 20)
    attempt.replace(path)  # for this task alone: no other worker need ever see it
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(rows, THUMBNAIL_BYTES))
