from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pairmill.pipeline.demo.pool import POOL_FILE, truth_of_pool
from pairmill.pipeline.demo.truth import truth_table
from pairmill.runners.demo_command import ledger_rows, print_truth, run_demo


def test_every_row_of_the_smallest_demo_ends_as_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(tmp_path, rows=100, workers=1) == 0
    table = truth_table(truth_of_pool(tmp_path / "pool" / POOL_FILE), ledger_rows(tmp_path))
    assert table.filter(pl.col("otherwise") > 0).is_empty()
    assert table["as_expected"].sum() == 100
    assert table.height > 40
    told = capsys.readouterr().out
    assert "What was planted" in told
    assert "otherwise" not in told


def test_what_went_otherwise_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"row": [0, 1], "planted": ["", "leaked"], "expect": ["kept", "kept"], "wanted": ["kept", "contaminated"]}
    ledger = pl.DataFrame({"row": [0, 1], "reason": ["timeout", None]})
    print_truth(truth_table(pl.DataFrame(rows), ledger))
    told = capsys.readouterr().out
    assert "(good pairs)" in told
    assert "timeout 1" in told
    assert "contaminated" in told
