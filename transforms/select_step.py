"""Selections: lanes write the places of their rows, one task finds the cut, and a row knows whether it is before it.

A selection over the whole pool is made once the captions are measured, and is a rule like any other from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import polars as pl

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.mirror import settle
from pairmill.transforms.block_frame import read_rows
from pairmill.transforms.job import Job
from pairmill.transforms.selection.cut import before_cut, find_cuts
from pairmill.transforms.selection.cut_rule import CutRule
from pairmill.transforms.selection.order import places
from pairmill.transforms.selection.runs import RunWriter, read_runs
from pairmill.transforms.selection.settings import FinalSelection, Selection

#: A row that could not be read may have no uid.
_NO_UID = "0" * 32


def rank_pool(job: Job, lane: int, number: int) -> None:
    """Write the places of all rows of a lane in the order of one selection over the pool."""
    selection = job.selections[number]
    with RunWriter(runs_folder(job, number), lane) as runs:
        for batch in job.lane_plan().lane(lane):
            runs.add(placed(read_rows(job, batch, "captions"), selection, job.seed))


def cut(job: Job, number: int) -> None:
    """Find where one selection cuts, when every lane has written its places."""
    write_cuts(
        job,
        number,
        find_cuts(partial(read_runs, runs_folder(job, number)), job.selections[number], budgets_of(job, number)),
    )


def budgets_of(job: Job, number: int) -> dict[int, int] | None:
    """What an exact cut behind an earlier one is asked for in each group: a share of the pool, not of what is left."""
    selection = job.selections[number]
    if not isinstance(selection, FinalSelection):
        return None
    groups = cuts_of(job, selection.early).select("group", "rows").iter_rows()
    return {group: selection.wanted(rows) for group, rows in groups}


def write_cuts(job: Job, number: int, cuts: pl.DataFrame) -> None:
    """Leave the cuts of one selection where every worker finds them."""
    path = _cuts_path(job, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    cuts.write_parquet(attempt)
    settle(attempt, path)


def with_cuts(job: Job, frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with the column of each selection over the pool; ask when their cuts are there."""
    kept = [kept_by(job, rule.number, frame).alias(rule.column) for rule in pool_rules(job.selections)]
    return frame.with_columns(kept)


def pool_rules(selections: Sequence[Selection]) -> tuple[CutRule, ...]:
    """The rules that selections over the pool are."""
    return tuple(
        CutRule(number=number, selection=selection)
        for number, selection in enumerate(selections)
        if selection.of == "pool"
    )


def placed(rows: pl.DataFrame, selection: Selection, seed: int) -> pl.DataFrame:
    """The group and the place of each row, columns as in those of runs; ``rows`` have uids and what is selected by."""
    uids = hex_halves(rows.get_column("uid").fill_null(_NO_UID))
    found = places(rows.get_column(selection.column), uids, first=selection.first, seed=seed)
    if selection.by is None:
        return found.with_columns(group=pl.lit(0, dtype=pl.UInt64))
    return found.with_columns(rows.get_column(selection.by).cast(pl.String).hash(seed).alias("group"))


def kept_by(job: Job, number: int, rows: pl.DataFrame) -> pl.Series:
    """Whether one selection keeps each row, null where it has no value; ask when its cut is there."""
    return before_cut(placed(rows, job.selections[number], job.seed), cuts_of(job, number))


def cuts_of(job: Job, number: int) -> pl.DataFrame:
    """The cut of each group of one selection, columns as in CUT_COLUMNS."""
    return _read_cuts(_cuts_path(job, number))


def runs_folder(job: Job, number: int) -> Path:
    """Where the sorted runs of one selection lie."""
    return job.parts / "places" / f"{number:03d}"


@lru_cache(maxsize=16)
def _read_cuts(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


def _cuts_path(job: Job, number: int) -> Path:
    return job.parts / "cuts" / f"{number:03d}.parquet"
