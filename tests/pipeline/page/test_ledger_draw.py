"""Rows of a ledger for a page: few of many, fairly, and the same ones every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pairmill.pipeline.page import ledger_draw
from pairmill.pipeline.page.ledger_draw import draw_ledger
from pairmill.sharding.column_files import write_row_groups

BLOCKS, ROWS = 60, 500


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """30,000 rows: of three, one is kept; one reason in a thousand rows, and groups of two rows each."""
    frames = []
    for block in range(BLOCKS):
        number = block * ROWS + np.arange(ROWS)
        rare = number % 1000 == 7
        kept = (number % 3 == 0) & ~rare
        reason = np.where(rare, "rare", "common").astype(object)
        reason[kept] = None
        frames.append(
            pl.DataFrame(
                {
                    "block": pl.Series([block] * ROWS, dtype=pl.UInt64),
                    "row": pl.Series(np.arange(ROWS), dtype=pl.UInt16),
                    "kept": kept,
                    "stage": pl.Series([None if each is None else "rules" for each in reason], dtype=pl.String),
                    "reason": pl.Series(reason.tolist(), dtype=pl.String),
                    "survivor": pl.Series([None] * ROWS, dtype=pl.UInt64),
                    "dup_group": pl.Series(number // 2, dtype=pl.UInt64),
                }
            )
        )
    path = tmp_path / "l.parquet"
    write_row_groups(path, frames)
    return path


def drawn(ledger: Path, parts: list[int] | None = None) -> ledger_draw.LedgerDraw:
    groups = range(BLOCKS) if parts is None else parts
    return draw_ledger([(ledger, group) for group in groups], dict.fromkeys(range(BLOCKS), ROWS), 5)


def test_small_ledgers_are_taken_whole(ledger: Path) -> None:
    found = drawn(ledger)
    assert found.whole
    assert found.charted.height == BLOCKS * ROWS
    assert found.group_sizes.to_list() == [2] * (BLOCKS * ROWS // 2)
    counts = dict(found.shown.group_by("reason").len().iter_rows())
    assert counts == {"rare": 5, "common": 5, None: 5}
    assert found.shown.filter(pl.col("reason") == "rare").select((pl.col("row") % 500).eq(7).all()).item()


def test_large_ones_are_drawn_from_fairly(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_draw, "CHART_ROWS", 1000)
    monkeypatch.setattr(ledger_draw, "GROUPS", 600)
    monkeypatch.setattr(ledger_draw, "_READ_ROWS", 10_000)
    monkeypatch.setattr(ledger_draw, "_LEAST_BLOCKS", 8)
    found = drawn(ledger)
    assert not found.whole
    assert 850 < found.charted.height < 1150
    assert found.charted.get_column("block").n_unique() == 20
    assert 0.28 < found.charted.get_column("kept").mean() < 0.39  # type: ignore[operator]
    assert 200 < found.group_sizes.len() < 400
    assert set(found.group_sizes) == {2}  # a group is drawn whole or not at all


def test_the_order_of_reading_changes_nothing(ledger: Path) -> None:
    there, back = drawn(ledger), drawn(ledger, list(reversed(range(BLOCKS))))
    assert there.shown.equals(back.shown)
    assert there.charted.equals(back.charted)


def test_an_empty_ledger(tmp_path: Path) -> None:
    found = draw_ledger([], {}, 5)
    assert found.shown.is_empty()
    assert found.charted.is_empty()
    assert found.group_sizes.is_empty()
