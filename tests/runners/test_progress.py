"""The progress bar reads the commit log, and never ends a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from pairmill.runners import progress
from pairmill.runners.progress import LogTail, print_funnel
from pairmill.sharding.commit_log import Commit, CommitLog


def test_rows_are_counted_once_over_all_workers(tmp_path: Path) -> None:
    tail = LogTail(tmp_path)
    assert tail.rows() == 0
    one, other = CommitLog(tmp_path), CommitLog(tmp_path)
    one.progress(5)
    other.progress(7)
    one.append([Commit(1, 0, "x", 0, 10)])
    assert tail.rows() == 12
    assert tail.rows() == 12
    one.progress(3)
    assert tail.rows() == 15


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    file = tmp_path / "w.jsonl"
    tail = LogTail(tmp_path)
    file.write_text('{"progress":5}\n{"progr')
    assert tail.rows() == 5
    with file.open("a") as more:
        more.write('ess":6}\n')
    assert tail.rows() == 11


def test_the_funnel_tells_every_reason_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=200, record=True, quiet=False)
    monkeypatch.setattr(progress, "Console", lambda: console)
    report = {
        "pool_rows": 1000,
        "kept": 700,
        "rejected_by_stage": {"read": {}, "rules": {"no_caption": 100}, "fetch": {"timeout": 200}, "duplicates": {}},
    }
    print_funnel(report, Path("out"))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    text = "\n".join(lines)
    assert "700 of 1,000 pairs kept" in text
    assert "rules │ no_caption │ 100 │ 10.00%" in text
    assert "fetch │ timeout │ 200 │ 20.00%" in text
    assert "│ 700 │ 70.00%" in text
