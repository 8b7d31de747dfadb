"""A full disk is told as what it is, whichever file it meets: other errors say nothing that a person can act on."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pairmill.sharding import commit_log
from pairmill.sharding.column_files import write_row_groups
from pairmill.sharding.commit_log import Commit, CommitLog
from pairmill.sharding.exchange import BatchWriter

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this machine")


def test_column_files() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_row_groups(FULL, [pl.DataFrame({"a": [1, 2, 3]})])


def test_the_folded_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CommitLog(tmp_path)
    log.append([Commit(1, 0, "x", 0, 10)])
    monkeypatch.setattr(commit_log, "attempt_path", lambda path: FULL)
    with pytest.raises(OSError, match="No space left on device"):
        log.fold()
    monkeypatch.undo()
    assert log.fold() == [Commit(1, 0, "x", 0, 10)]


def test_exchanged_rows(tmp_path: Path) -> None:
    writer = BatchWriter(tmp_path / "rows.arrow")
    writer._attempt = FULL
    with pytest.raises(OSError, match="No space left on device"), writer:
        writer.write(pl.DataFrame({"a": range(200_000)}))
