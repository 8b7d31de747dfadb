"""``pairmill ledger`` and ``pairmill status``: look at a build, during and after."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from pairmill.pipeline.ledger_rows import read_build_record
from pairmill.pipeline.pool_blocks import PoolBlocks
from pairmill.pipeline.select_files import MARK
from pairmill.pipeline.work import at_work
from pairmill.sharding.commit_log import CommitLog
from pairmill.sharding.errors import UsageError
from pairmill.sharding.mds import FOLDER as MDS
from pairmill.sharding.mds import SUFFIX
from pairmill.sharding.mirror import fetched_all, is_there, listed, open_place, shown
from pairmill.sharding.pair import ROW_BITS
from pairmill.transforms.judgement import FAILED_RULES
from pairmill.transforms.spool_drop import dropped_images

#: What a reader wants to see of a pool row.
POOL_PART = ("uid", "url", "path", "caption")


def show_ledger(build: Path, reason: str | None, limit: int | None, out: Path | None, all_reasons: bool = False) -> int:
    """Print the ledger joined with uid, url and caption as CSV, or write it to ``out`` (.csv or .parquet).

    ``all_reasons``: with every rule that a row fails, of a build whose recipe asked for them; ``reason`` then finds
    rows by any of these.
    """
    record = read_build_record(build)
    files = fetched_all(listed(build / "ledger", "*.parquet"))
    if not files:
        raise UsageError(f"{shown(build)} has no ledger yet; pairmill status {shown(build)} tells how far it is")
    frame = pl.concat([pl.read_parquet(file) for file in files])
    if all_reasons and FAILED_RULES not in frame.columns:
        raise UsageError(
            f"{shown(build)} has the first reasons alone; run it to another --out with --set all_reasons=true "
            "(the same --work spares what was fetched)"
        )
    if not all_reasons:
        frame = frame.drop(FAILED_RULES, strict=False)
    if reason is not None:
        found = pl.col("kept") if reason == "kept" else pl.col("reason") == reason
        if all_reasons:
            found |= pl.col(FAILED_RULES).list.contains(reason)
        known = sorted(frame.get_column("reason").drop_nulls().unique())
        frame = frame.filter(found)
        if reason not in (*known, "kept") and not frame.height:
            raise UsageError(f"--reason {reason}: no row has it; this ledger has: kept, {', '.join(known)}")
    if limit is not None:
        frame = frame.head(limit)
    frame = _with_pool(frame, PoolBlocks(build, record))
    if all_reasons and (out is None or out.suffix == ".csv"):
        frame = frame.with_columns(pl.col(FAILED_RULES).list.join(";"))
    if out is None:
        frame.write_csv(sys.stdout.buffer)
    elif out.suffix == ".parquet":
        frame.write_parquet(out)
    elif out.suffix == ".csv":
        frame.write_csv(out)
    else:
        raise UsageError(f"{out}: name a .csv or a .parquet file")
    return 0


def show_status(build: Path) -> int:
    """Print how far a build is, from its commit log."""
    record = read_build_record(build)
    finished = is_there(build / "dataset" / "manifest.json")
    fetched = CommitLog(open_place(record["work"]) / "log" / record["fetch"]).read()
    pool = CommitLog(open_place(record["work"]) / "log" / record["pool"]).read()
    shards = len(listed(build / "dataset", "*.tar") or listed(build / "dataset", f"{MDS}/*/*{SUFFIX}"))
    print(f"recipe   {record['recipe']}")
    print(f"pool     {sum(c.rows for c in pool):,} rows in {len(pool):,} blocks read")
    dropped, _ = dropped_images(fetched)
    told = f" ({dropped:,} more were dropped from the spool)" if dropped else ""
    rows = sum(c.rows for c in fetched) - dropped
    print(f"fetched  {rows:,} images in {len({c.block for c in fetched}):,} blocks{told}")
    for name, store in dict(record.get("scores", {})).items():
        commits = CommitLog(open_place(record["work"]) / "log" / store).read()
        print(f"scored   {sum({(c.block, c.part): c.rows for c in commits}.values()):,} pairs by {name}")
    for name, store in dict(record.get("words", {})).items():
        commits = CommitLog(open_place(record["work"]) / "log" / store).read()
        print(f"written  {sum({(c.block, c.part): c.rows for c in commits}.values()):,} rows for the text {name}")
    print(f"shards   {shards:,} written")
    if is_there(build / MARK) and not finished:
        print("selected by the pool's own columns (--steps select); a run of all steps goes on from here")
        return 0
    run = None if finished else at_work(build)
    if run is not None:
        print(f"not finished: {run} is at work")
        return 0
    print("finished" if finished else "not finished: run the same command again to go on")
    return 0


def _with_pool(frame: pl.DataFrame, blocks: PoolBlocks) -> pl.DataFrame:
    """The ledger's rows with what the pool says of them; a survivor is named by its uid."""
    row_id = pl.col("block").cast(pl.UInt64) * (1 << ROW_BITS) + pl.col("row")
    wanted = frame.select(row_id=row_id)
    survivors = frame.select(row_id="survivor").drop_nulls().unique()
    told = _pool_rows(wanted, blocks, POOL_PART)
    uids = _pool_rows(survivors, blocks, ("uid",)).rename({"row_id": "survivor", "uid": "survivor_uid"})
    joined = frame.hstack(told.drop("row_id").get_columns())
    return joined.join(uids, on="survivor", how="left", maintain_order="left").drop("survivor")


def _pool_rows(wanted: pl.DataFrame, blocks: PoolBlocks, names: tuple[str, ...]) -> pl.DataFrame:
    """The named pool columns of the wanted row ids, block by block, in the order of the ids."""
    wanted = wanted.sort("row_id").with_columns(block=pl.col("row_id") // (1 << ROW_BITS))
    parts = [pl.DataFrame(schema={"row_id": pl.UInt64, **dict.fromkeys(names, pl.String)})]
    for (block,), rows in wanted.partition_by("block", as_dict=True, maintain_order=True).items():
        pool = blocks.rows(int(block), names)
        places = rows.select(place=pl.col("row_id") % (1 << ROW_BITS)).get_column("place")
        parts.append(pl.concat([rows.select("row_id"), pool[places]], how="horizontal"))
    return pl.concat(parts)
