"""The last word on every row: the ledger, and the kept rows with their split."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import polars as pl

from pairmill.sharding.exchange import BatchWriter
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.pair import ROW_BITS
from pairmill.sharding.shard_groups import GROUP_VALUE, group_values
from pairmill.transforms.block_frame import of_blocks
from pairmill.transforms.caption_merge import MERGED, sent_captions, with_captions
from pairmill.transforms.job import Job
from pairmill.transforms.late_selection import decided, lane_duplicates, read_known
from pairmill.transforms.mixture.laps import copies_by_lap, first_laps
from pairmill.transforms.mixture_count import MixtureCount
from pairmill.transforms.mixture_step import laps_of, with_samples
from pairmill.transforms.shard_order import split_of
from pairmill.transforms.words.recycle import RECYCLED_FROM

TRAIN = "train"
_NEEDED = ("row_id", "uid", "caption", "stored_bytes", "spool", "spool_offset", RECYCLED_FROM)


def close_lane(job: Job, lane: int) -> None:
    """Write the ledger of a lane and its kept rows (kinds ``ledger`` and ``kept``, a record batch for each batch).

    What the planner needs goes beside them, in one record batch each: of kind ``closed``, a row for each block, split
    and value of the shard group that keeps any row: ``lap 0`` and on, its samples by lap, and ``stored``, the bytes of
    their images; of kind ``digests``, a ``digest`` of what was kept for each batch.
    """
    duplicates = lane_duplicates(job, lane)
    sent = sent_captions(job, lane) if job.duplicates.merge_captions else pl.DataFrame()
    laps, count = laps_of(job), MixtureCount(job)
    counts, digests = [], []
    with BatchWriter(job.exchanged("ledger", lane)) as ledger, BatchWriter(job.exchanged("kept", lane)) as kept:
        for place, batch in enumerate(job.lane_plan().lane(lane)):
            of_batch = of_blocks(duplicates, batch[0], batch[-1])
            alive = read_known(job, lane, place)
            before = decided(job, lane, place, batch)
            verdicts = with_samples(job, lane, place, alive, before)
            count.add(lane, place, alive, before, verdicts)
            rows = _kept_rows(job, alive, verdicts, of_batch)
            if job.duplicates.merge_captions:
                rows = with_captions(rows, sent)
            ledger.write(_ledger_rows(verdicts, of_batch))
            optional = [name for name in (GROUP_VALUE, MERGED) if name in rows.columns]
            kept.write(rows.select("row_id", "split", "samples", *optional))
            counts.append(_counts(job, rows, laps))
            digests.append((batch[0], _digest(rows)))
    count.save(lane)
    with BatchWriter(job.exchanged("closed", lane)) as closed:
        closed.write(pl.concat(counts))
    with BatchWriter(job.exchanged("digests", lane)) as told:
        told.write(pl.DataFrame(digests, schema={"first_block": pl.Int64, "digest": pl.String}, orient="row"))


def split_names(job: Job) -> list[str]:
    """The names of all splits; a row's ``split`` column is its index here."""
    return [*(name for name, _ in job.splits), TRAIN]


def _kept_rows(job: Job, alive: pl.DataFrame, verdicts: pl.DataFrame, duplicates: pl.DataFrame) -> pl.DataFrame:
    kept = verdicts.filter(pl.col("stage").is_null()).select("row_id", "samples")
    needed = [pl.col(name) for name in _NEEDED if name in alive.columns]
    groups = job.shards.groups
    if groups is not None:
        needed.append(pl.lit(group_values(alive.get_column(groups.by), groups)))
    rows = alive.select(needed).join(kept, on="row_id", how="inner", maintain_order="left")
    rows = rows.with_columns(own=hex_halves(rows.get_column("uid"))[1])
    rows = rows.join(duplicates.select("row_id", "group", "count"), on="row_id", how="left", maintain_order="left")
    group = rows.select(pl.coalesce("group", "own")).to_series().to_numpy()
    return rows.with_columns(split=pl.Series(split_of(group, job.splits, job.seed), dtype=pl.Int8))


def _digest(rows: pl.DataFrame) -> str:
    """Of what was kept of a batch."""
    digest = hashlib.blake2b(digest_size=16)
    for column in ("row_id", "split", "samples", "spool_offset", "stored_bytes", "group", "count"):
        digest.update(rows.get_column(column).fill_null(0).to_numpy().tobytes())
    if GROUP_VALUE in rows.columns:
        digest.update(json.dumps(rows.get_column(GROUP_VALUE).to_list()).encode())
    if MERGED in rows.columns:
        digest.update(json.dumps(rows.get_column(MERGED).to_list()).encode())
    digest.update("\x00".join(rows.get_column("spool").unique().sort().to_list()).encode())
    return digest.hexdigest()


def _counts(job: Job, rows: pl.DataFrame, laps: int) -> pl.DataFrame:
    """Samples and bytes of a batch by block, split and value of the shard group."""
    in_laps = [f"lap {lap}" for lap in range(laps)]
    copies = rows.get_column("samples").to_numpy().astype(np.int64)
    first = first_laps(rows.get_column("own").to_numpy(), laps, job.seed)
    rows = rows.with_columns(pl.DataFrame(copies_by_lap(copies, first, laps), schema=in_laps))
    value = pl.col(GROUP_VALUE) if GROUP_VALUE in rows.columns else pl.lit(None, pl.String)
    return (
        rows.group_by("split", block=(pl.col("row_id") // (1 << ROW_BITS)).cast(pl.Int64), value=value)
        .agg(
            *(pl.col(lap).sum().cast(pl.Int64) for lap in in_laps),
            stored=(pl.col("stored_bytes") * pl.col("samples")).sum().cast(pl.Int64),
        )
        .sort("block", "split", "value")
    )


def _ledger_rows(verdicts: pl.DataFrame, duplicates: pl.DataFrame) -> pl.DataFrame:
    groups = duplicates.select("row_id", dup_group="group")
    return verdicts.join(groups, on="row_id", how="left", maintain_order="left").select(
        block=pl.col("row_id") // (1 << ROW_BITS),
        row=(pl.col("row_id") % (1 << ROW_BITS)).cast(pl.UInt16),
        kept=pl.col("stage").is_null(),
        samples="samples",
        stage=pl.col("stage").cast(pl.String),
        reason="reason",
        survivor="survivor",
        dup_group="dup_group",
    )
