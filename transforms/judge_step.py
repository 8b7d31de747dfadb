"""After the fetch: the verdict of every row of a lane, and what the living send on to be compared with each other."""

from __future__ import annotations

import polars as pl

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.exchange import BatchWriter, PartitionWriter, read_partition
from pairmill.transforms.block_frame import of_blocks, read_described, read_fetched
from pairmill.transforms.fetch_columns import SHARED_COLUMNS
from pairmill.transforms.job import Job
from pairmill.transforms.judgement import READ, judge_after_fetch, judge_before_fetch
from pairmill.transforms.share_step import HASH_SEEDS, describe_row, hex_halves, image_place, partition_of

#: Known to the machine alone, not to a reader of the dataset.
HIDDEN_COLUMNS = ("row_error", "tar_offset", "tar_bytes", "status", "status_detail", "thumbnail")


def judge_lane(job: Job, lane: int) -> None:
    """Write the lane's verdicts so far, the columns of its living rows, and their features for the duplicate search.

    Kinds written: ``verdicts`` and ``alive``, a record batch for each batch of blocks; ``features``, to partitions by
    sha256.
    """
    plan = job.lane_plan()
    repeats = read_partition(job.all_exchanged("repeats"), lane).sort("row_id")
    shared = read_partition(job.all_exchanged("shared"), lane).sort("row_id")
    with (
        BatchWriter(job.exchanged("verdicts", lane)) as verdicts,
        BatchWriter(job.exchanged("alive", lane)) as alive,
        PartitionWriter(job.parts / "features", lane, plan.partitions) as features,
    ):
        for batch in plan.lane(lane):
            of_batch = [of_blocks(rows, batch[0], batch[-1]) for rows in (repeats, shared)]
            after, living = _judge_batch(job, batch, *of_batch)
            verdicts.write(after)
            alive.write(living.drop([name for name in HIDDEN_COLUMNS if name in living.columns]))
            rows = _features(living)
            features.add(rows, partition_of(rows.get_column("sha_lo"), plan.partitions))


def _judge_batch(
    job: Job, batch: list[int], repeats: pl.DataFrame, shared: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The verdicts of a batch of blocks, and every column of its living rows."""
    described = read_described(job, batch, "captions")
    fetched = _own_and_shared(described, read_fetched(job, batch, "fetched", SHARED_COLUMNS), shared)
    before = _mark_repeats(judge_before_fetch(described, job.rules), repeats)
    _require_fetched(before, fetched)
    after = judge_after_fetch(described, fetched, before, job.rules)
    columns = fetched.drop("row_id")
    frame = described.drop([name for name in columns.columns if name in described.columns]).hstack(columns)
    return after, frame.filter(after.get_column("stage").is_null())


def _own_and_shared(described: pl.DataFrame, own: pl.DataFrame, shared: pl.DataFrame) -> pl.DataFrame:
    """One row a pool row, in its order: the image it shares if it shares one, else its own, else nulls."""
    rows = described.select("row_id")
    borrowed = shared.select(SHARED_COLUMNS).join(rows, on="row_id", how="semi")
    own = own.select(SHARED_COLUMNS).join(borrowed, on="row_id", how="anti")
    return rows.join(pl.concat([own, borrowed]), on="row_id", how="left", maintain_order="left")


def _mark_repeats(verdicts: pl.DataFrame, repeats: pl.DataFrame) -> pl.DataFrame:
    """A row that repeats an earlier one is that, whatever a rule says of it."""
    joined = verdicts.drop("survivor").join(repeats, on="row_id", how="left", maintain_order="left")
    repeated = pl.col("survivor").is_not_null()
    return joined.with_columns(
        stage=pl.when(repeated).then(pl.lit(READ, dtype=verdicts.schema["stage"])).otherwise("stage"),
        reason=pl.when(repeated).then(pl.lit("duplicate_row")).otherwise("reason"),
    )


def _require_fetched(verdicts: pl.DataFrame, fetched: pl.DataFrame) -> None:
    lost = verdicts.filter(verdicts.get_column("stage").is_null() & fetched.get_column("status").is_null())
    if lost.height:
        raise PairmillError(
            f"{lost.height} rows were never fetched, the first in {describe_row(lost['row_id'][0])}: "
            "the work folder was changed while it was in use; run the same command again"
        )


def _features(frame: pl.DataFrame) -> pl.DataFrame:
    uid_hi, uid_lo = hex_halves(frame.get_column("uid"))
    sha_hi, sha_lo = hex_halves(frame.get_column("sha256").str.slice(0, 32))
    return frame.select(
        "row_id",
        uid_hi=uid_hi,
        uid_lo=uid_lo,
        sha_hi=sha_hi,
        sha_lo=sha_lo,
        place=image_place().hash(HASH_SEEDS[0]),
        original_width="original_width",
        original_height="original_height",
        fetched_bytes="fetched_bytes",
        width="width",
        height="height",
        phash="phash",
        thumbnail="thumbnail",
    )
