"""What a build tells of its evaluation sets: which rows touch them, and which come near."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pairmill.sharding.column_files import attempt_path, replace_file, write_row_groups
from pairmill.sharding.exchange import read_batch
from pairmill.sharding.mirror import open_place
from pairmill.sharding.pair import ROW_BITS
from pairmill.transforms.block_frame import of_blocks
from pairmill.transforms.contamination_step import GROUP, lane_condemned, lane_matches
from pairmill.transforms.evaluation_step import index_folder
from pairmill.transforms.job import Job
from pairmill.transforms.known.matches import MATCH_KINDS

FOLDER = "decontamination"
#: Rows that touch a set, and rows that come near one: in pool order, one line a row, set and kind.
MATCHES, REVIEW = "matches.parquet", "review.parquet"
#: Broken pictures of a set that the report names; the rest is counted.
BROKEN_NAMED = 20

_SHOWN: dict[str, pl.DataType] = {
    "row_id": pl.UInt64(),
    "uid": pl.String(),
    "url": pl.String(),
    "path": pl.String(),
    "evaluation_set": pl.String(),
    "item": pl.String(),
    "kind": pl.String(),
    "distance": pl.Float32(),
    "thumbnail_difference": pl.Float32(),
    "reason": pl.String(),
}


@dataclass
class _Counts:
    """Of one set: rows that touch it, by kind and in all; rows that come near it, and of these the kept ones."""

    rows: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    review: int = 0
    review_kept: int = 0


def write_contamination(job: Job) -> list[dict[str, Any]]:
    """Write ``BUILD/decontamination/`` and return a set's entry of the report each, in the recipe's order.

    An entry has ``name``, ``digest``, ``items``, ``broken`` (pictures without hashes) and ``broken_items`` (the first
    of them, with why), ``rows`` that touch the set, ``by_kind`` (kind → rows; ``group``: by equal bytes alone),
    ``review_rows`` that come near, and ``review_kept`` of them that are in the dataset.
    """
    counts = [_Counts() for _ in job.evaluation]
    lanes = job.lane_plan().lanes
    items = pl.read_parquet(index_folder(job) / "items.parquet") if lanes else None
    folder = open_place(job.build) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, told in ((MATCHES, _touching(job, items, counts)), (REVIEW, _near(job, items, counts))):
        attempt = attempt_path(folder / name)
        write_row_groups(attempt, told)
        replace_file(attempt, folder / name)
    return [_entry(job, number, items, count) for number, count in enumerate(counts)]


def contamination_lines(report: dict[str, Any]) -> list[str]:
    """What touches each evaluation set, for people; a line a set."""
    lines = []
    for told in report.get("decontamination", []):
        kinds = ", ".join(f"{kind} {rows:,}" for kind, rows in told["by_kind"].items())
        line = f"{told['name']}: {told['rows']:,} rows touch it{f' ({kinds})' if kinds else ''}"
        if told["review_rows"]:
            line += f"; {told['review_rows']:,} come near, {told['review_kept']:,} of them kept: see {FOLDER}/{REVIEW}"
        if told["broken"]:
            first = told["broken_items"][0]
            why = f"{first['item']}: {first['error']}"
            line += f"; {told['broken']:,} of its {told['items']:,} pictures cannot be read ({why})"
        lines.append(line)
    return lines


def _entry(job: Job, number: int, items: pl.DataFrame | None, count: _Counts) -> dict[str, Any]:
    source = job.evaluation[number].source
    broken: list[dict[str, Any]] = []
    if items is not None:
        broken = items.filter((pl.col("source") == number) & pl.col("error").is_not_null()).rows(named=True)
    return {
        "name": source.name,
        "digest": source.digest,
        "items": source.items,
        "broken": len(broken),
        "broken_items": [{"item": row["item"], "error": row["error"]} for row in broken[:BROKEN_NAMED]],
        "rows": count.rows,
        "by_kind": {kind: count.kinds[kind] for kind in (*MATCH_KINDS, GROUP) if kind in count.kinds},
        "review_rows": count.review,
        "review_kept": count.review_kept,
    }


def _touching(job: Job, items: pl.DataFrame | None, counts: list[_Counts]) -> Iterator[pl.DataFrame]:
    yield pl.DataFrame(schema=_SHOWN)
    for lane, place, batch, matches in _batches(job):
        condemned = of_blocks(lane_condemned(job, lane), batch[0], batch[-1])
        carried = condemned.filter(pl.col("kind") == GROUP).with_columns(
            distance=pl.lit(None, dtype=pl.Float32), thumbnail_difference=pl.lit(None, dtype=pl.Float32)
        )
        own = matches.filter(~pl.col("near")).drop("near").cast({"kind": pl.String})
        rows = pl.concat([own, carried.select(own.columns)])
        for (number,), of_set in rows.partition_by("source", as_dict=True).items():
            count = counts[int(number)]
            count.rows += of_set.get_column("row_id").n_unique()
            for kind, found in of_set.group_by("kind").len().iter_rows():
                count.kinds[kind] = count.kinds.get(kind, 0) + found
        yield _shown(job, lane, place, batch, rows, items)


def _near(job: Job, items: pl.DataFrame | None, counts: list[_Counts]) -> Iterator[pl.DataFrame]:
    yield pl.DataFrame(schema=_SHOWN)
    for lane, place, batch, matches in _batches(job):
        rows = matches.filter(pl.col("near")).drop("near").cast({"kind": pl.String})
        # What is condemned for the same set needs no review.
        touching = matches.filter(~pl.col("near")).select("row_id", "source")
        rows = rows.join(touching, on=["row_id", "source"], how="anti", maintain_order="left")
        shown = _shown(job, lane, place, batch, rows, items)
        for number, run in enumerate(job.evaluation):
            of_set = shown.filter(pl.col("evaluation_set") == run.source.name)
            counts[number].review += of_set.get_column("row_id").n_unique()
            counts[number].review_kept += of_set.filter(pl.col("reason").is_null()).get_column("row_id").n_unique()
        yield shown


def _batches(job: Job) -> Iterator[tuple[int, int, list[int], pl.DataFrame]]:
    """Lane, place in the lane, blocks and matches of every batch, in pool order."""
    plan = job.lane_plan()
    for number in range(len(plan.batches)):
        lane, place = plan.place_of_batch(number)
        batch = plan.batch(number)
        yield lane, place, batch, of_blocks(lane_matches(job, lane), batch[0], batch[-1])


def _shown(
    job: Job, lane: int, place: int, batch: list[int], rows: pl.DataFrame, items: pl.DataFrame | None
) -> pl.DataFrame:
    """The rows of a batch as they are written: named by uid and place, with the final reason (null: kept)."""
    if not rows.height or items is None:
        return pl.DataFrame(schema=_SHOWN)
    ledger = read_batch(job.exchanged("ledger", lane), place).select(
        row_id=pl.col("block").cast(pl.UInt64) * (1 << ROW_BITS) + pl.col("row"), reason="reason"
    )
    snapshot = job.pool_store.snapshot("evaluation")
    pool = job.pool_store.read([snapshot[block][0] for block in batch], ["uid", "url", "path"])
    ledger = ledger.hstack(pool.select("uid", "url", "path").get_columns())
    names = pl.DataFrame({"evaluation_set": [run.source.name for run in job.evaluation]}).with_row_index("source")
    joined = (
        rows.join(ledger, on="row_id", how="left")
        .join(names, on="source", how="left")
        .join(items.select(pl.col("number").alias("item"), pl.col("item").alias("name")), on="item", how="left")
        .drop("item")
        .rename({"name": "item"})
    )
    return joined.select(list(_SHOWN)).cast(_SHOWN).sort("row_id", "evaluation_set", "kind")  # type: ignore[arg-type]
