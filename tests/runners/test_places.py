"""Folders that a user names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairmill.runners import places


def test_a_traceback_that_cannot_be_kept_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(attempt: Path, final: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(places, "settle", full)
    places.note_error(str(tmp_path), "Traceback …")
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_is_kept(tmp_path: Path) -> None:
    places.note_error(str(tmp_path), "Traceback …")
    assert [path.name for path in tmp_path.iterdir()] == ["error.txt"]
    assert (tmp_path / "error.txt").read_text(encoding="utf-8") == "Traceback …"
