"""A resume looks at logs, never at the blocks: however many there are, it soon begins to work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from pairmill.pipeline.build import run_build
from pairmill.pipeline.prepare import prepare
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.recipe import load_recipe
from pairmill.sharding.commit_log import Commit
from pairmill.sharding.pair import block_number
from pairmill.transforms.pool.plan import Segment
from pairmill.transforms.read_step import lay_out, read_pool_segment

BLOCKS = 100_000


class EndOfPlan(Exception):
    pass


@pytest.fixture(scope="module")
def opened() -> Iterator[Callable[[Path], list[str]]]:
    """The files below a folder that were opened since it was last asked; an audit hook stays for good."""
    seen: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str):
            seen.append(arguments[0])

    sys.addaudithook(hook)

    def since(folder: Path) -> list[str]:
        found = [path for path in seen if path.startswith(f"{folder}/")]
        seen.clear()
        return found

    yield since
    watching = False


def write_pool(folder: Path) -> Path:
    """A pool of as many blocks as rows, and a recipe of which nothing is wanted."""
    table = pl.DataFrame(
        {"url": [f"http://127.0.0.1:1/{i}" for i in range(BLOCKS)], "caption": ["a cat"] * BLOCKS}
    ).with_columns(score=pl.lit(0.1))
    pq.write_table(
        table.to_arrow(compat_level=pl.CompatLevel.oldest()), folder / "pool.parquet", row_group_size=BLOCKS // 10
    )
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "pool: {path: pool.parquet, block_rows: 1}\nlanguage: off\n"
        "rules: [{column_range: {column: score, at_least: 0.3}}]\n"
    )
    return recipe


def commit_everything(prepared: Prepared) -> None:
    """As runs would have logged it. Of the column files that the logs name none is there: who opens one fails."""
    job = prepared.job
    for segment in prepared.segments:
        first, rows = _first_block(segment), segment.rows or 0
        blocks = range(first, first + rows)
        for store in (job.pool_store, job.fetch_store):
            store.log.append([Commit(block, 0, f"pack-{block >> 8}.parquet", block & 255, 1) for block in blocks])
        job.segment_store.log.append([Commit(first, 0, "", 0, rows)])


def _first_block(segment: Segment) -> int:
    return block_number(segment.file, segment.first_block)


def test_a_hundred_thousand_blocks_are_planned_without_a_look_at_one(
    tmp_path: Path, opened: Callable[[Path], list[str]]
) -> None:
    recipe = load_recipe(write_pool(tmp_path))
    build, work = tmp_path / "build", tmp_path / "work"
    earlier = prepare(recipe, build, work, lanes=2)
    with pytest.raises(EndOfPlan):  # takes the folders
        run_build(earlier, work, _end_at_once)
    commit_everything(earlier)

    prepared = prepare(recipe, build, work, lanes=2)
    planned: list[int] = []

    def plan(ready: Prepared) -> None:
        for segment in ready.segments:
            read_pool_segment(ready.job, segment)
        planned.extend(lay_out(ready.job))
        raise EndOfPlan

    opened(work)
    with pytest.raises(EndOfPlan):
        run_build(prepared, work, plan)
    lanes = prepared.job.lane_plan()
    assert (planned, len(lanes.blocks), int(lanes.rows.sum())) == ([0, 1], BLOCKS, BLOCKS)
    touched = opened(work)
    assert len(touched) < 100, touched[:20]
    assert not [path for path in touched if "/columns/" in path or "/spool/" in path]
    assert {path.name for path in work.glob("log/*/*")} == {"folded.parquet"}


def _end_at_once(ready: Prepared) -> None:
    raise EndOfPlan
