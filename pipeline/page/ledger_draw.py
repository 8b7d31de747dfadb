"""What a page needs of a ledger, drawn in one pass: rows of every reason, rows for charts, groups of duplicates.

A row is drawn by a number that its id and the seed fix, so that every run draws the same ones. Memory does not grow
with the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from pairmill.sharding.pair import ROW_BITS
from pairmill.sharding.shuffle import mix
from pairmill.transforms.judgement import FAILED_RULES

#: Rows behind the charts of columns, and how many blocks are opened for them: some 640,000 rows are read.
CHART_ROWS = 100_000
_READ_ROWS = 640_000
_LEAST_BLOCKS, _MOST_BLOCKS = 64, 1024
#: Groups of duplicates whose sizes are counted.
GROUPS = 200_000
PIECE_ROWS = 50_000
_COLUMNS = ("block", "row", "kept", "stage", "reason", "survivor", "dup_group")
_CHANCE = "chance of the draw"


@dataclass(frozen=True)
class LedgerDraw:
    """``shown``: of every reason the rows to show, ``charted``: rows for charts; both with ``row_id``, ascending.

    ``group_sizes``: rows of each drawn group of duplicates; ``whole``: whether these are all rows, and all groups.
    """

    shown: pl.DataFrame
    charted: pl.DataFrame
    group_sizes: pl.Series
    whole: bool


def draw_ledger(
    parts: Sequence[tuple[Path, int]], sizes_of_blocks: dict[int, int], per_reason: int, seed: int = 0
) -> LedgerDraw:
    """Read a ledger part by part (a file and a row group) and draw ``per_reason`` rows of every stage and reason."""
    rows = sum(sizes_of_blocks.values())
    blocks = _blocks_for_charts(sizes_of_blocks, seed)
    chart_share = min(1.0, CHART_ROWS / max(1, sum(sizes_of_blocks[block] for block in blocks)))
    group_share = min(1.0, GROUPS / max(1, rows))
    wanted = pl.Series(blocks, dtype=pl.UInt64).implode()
    shown: list[pl.DataFrame] = []
    charted: list[pl.DataFrame] = []
    groups = [pl.Series(dtype=pl.UInt64)]
    for frame in (frame for file, group in parts for frame in _frames(file, group, seed)):
        charted.append(frame.filter(pl.col("block").is_in(wanted) & (pl.col(_CHANCE) < chart_share)))
        members = frame.get_column("dup_group").drop_nulls()
        groups.append(members.filter(pl.Series(_chances(members, seed, "groups of a page") < group_share)))
        shown = [_least([*shown, frame], per_reason)]
    empty = pl.DataFrame(schema={"row_id": pl.UInt64, "kept": pl.Boolean, "stage": pl.String, "reason": pl.String})
    return LedgerDraw(
        shown=shown[0].drop(_CHANCE).sort("stage", "reason", "row_id") if shown else empty,
        charted=pl.concat(charted).drop(_CHANCE).sort("row_id") if charted else empty,
        group_sizes=pl.concat(groups).value_counts().get_column("count"),
        whole=chart_share == 1.0 and len(blocks) == len(sizes_of_blocks),
    )


def _frames(file: Path, group: int, seed: int) -> Iterator[pl.DataFrame]:
    """A row group of a ledger in pieces: that of a selection has hundreds of thousands of rows."""
    with pq.ParquetFile(file) as opened:
        names = [name for name in (*_COLUMNS, FAILED_RULES) if name in opened.schema_arrow.names]
        for batch in opened.iter_batches(PIECE_ROWS, row_groups=[group], columns=names):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            frame = frame.with_columns(
                row_id=pl.col("block").cast(pl.UInt64) * (1 << ROW_BITS) + pl.col("row"),
                stage=pl.col("stage").cast(pl.String),
                reason=pl.col("reason").cast(pl.String),
            )
            chance = _chances(frame.get_column("row_id"), seed, "rows of a page")
            yield frame.with_columns(pl.Series(_CHANCE, chance))


def _least(frames: Sequence[pl.DataFrame], count: int) -> pl.DataFrame:
    """Of every stage and reason the rows of the least chances."""
    drawn = pl.concat(frames).sort(_CHANCE, "row_id")
    return drawn.group_by("stage", "reason", maintain_order=True).head(count).select(frames[0].columns)


def _blocks_for_charts(sizes: dict[int, int], seed: int) -> list[int]:
    """Blocks of about _READ_ROWS rows, few enough to open and many enough to tell of the pool."""
    blocks = np.array(sorted(sizes), dtype=np.uint64)
    if not blocks.size:
        return []
    mean = sum(sizes.values()) / blocks.size
    count = int(min(max(_READ_ROWS / max(1.0, mean), _LEAST_BLOCKS), _MOST_BLOCKS, blocks.size))
    order = np.argsort(mix(blocks, seed, "blocks of a page"), kind="stable")
    return [int(block) for block in np.sort(blocks[order[:count]])]


def _chances(ids: pl.Series, seed: int, purpose: str) -> np.ndarray:
    """A number from 0 to 1 for each id."""
    return mix(ids.cast(pl.UInt64).to_numpy(), seed, purpose).astype(np.float64) / 2.0**64
