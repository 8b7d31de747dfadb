"""The commit log: nothing that was committed is lost, whatever was killed when."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding import commit_log
from pairmill.sharding.commit_log import Commit, CommitLog


def commit(block: int, part: int = 0, **more: Any) -> Commit:
    return Commit(block, part, f"00/{block:04x}.p{part}.parquet", 0, block * 10, **more)


def by_place(commits: list[Commit]) -> list[Commit]:
    return sorted(commits, key=lambda c: (c.block, c.part))


def test_what_was_appended_is_read_back_whole(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "log")
    first = commit(1, seconds=0.25, counts={"ok": 3, "not_found": 1}, digest="ab")
    log.append([first, commit(2)])
    log.append([commit(2, 1)])
    assert by_place(CommitLog(tmp_path / "log").read()) == [first, commit(2), commit(2, 1)]


def test_a_log_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert CommitLog(tmp_path / "none").read() == []
    assert CommitLog(tmp_path / "none").fold() == []


@given(st.data())
def test_a_torn_last_line_is_passed_over(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = CommitLog(folder)
    commits = [commit(i, counts={"ok": i}) for i in range(3)]
    for one in commits:
        log.append([one])
    log.close()
    (file,) = folder.glob("*.jsonl")
    text = file.read_bytes()
    last = text[:-1].rindex(b"\n") + 1
    cut = data.draw(st.integers(last, len(text) - 2))
    file.write_bytes(text[:cut])
    assert CommitLog(folder).read() == commits[:2]
    assert CommitLog(folder).fold() == commits[:2]


@pytest.mark.parametrize("tail", [b"\x00" * 40, b'{"block":', b"\n\n", b'"block"', b"7"])
def test_what_a_power_cut_leaves_at_the_end_is_no_commit(tmp_path: Path, tail: bytes) -> None:
    log = CommitLog(tmp_path)
    log.append([commit(1)])
    log.close()
    (file,) = tmp_path.glob("*.jsonl")
    file.write_bytes(file.read_bytes() + tail)
    assert CommitLog(tmp_path).read() == [commit(1)]


def test_progress_is_no_commit_and_goes_with_the_fold(tmp_path: Path) -> None:
    log = CommitLog(tmp_path)
    log.progress(7)
    log.append([commit(1)])
    log.progress(5)
    assert log.read() == [commit(1)]
    assert log.fold() == [commit(1)]
    assert [file.name for file in tmp_path.iterdir()] == [CommitLog.FOLDED]


def test_folding_gathers_all_workers_and_again_changes_nothing(tmp_path: Path) -> None:
    commits = [commit(block, part, seconds=0.5, counts={"ok": block}) for block in range(20) for part in (0, 1)]
    for worker in range(4):
        CommitLog(tmp_path).append(commits[worker::4])
    driver = CommitLog(tmp_path)
    assert driver.fold() == commits
    assert [file.name for file in tmp_path.iterdir()] == [CommitLog.FOLDED]
    folded = (tmp_path / CommitLog.FOLDED).read_bytes()
    assert driver.fold() == commits
    assert (tmp_path / CommitLog.FOLDED).read_bytes() == folded
    assert by_place(driver.read()) == commits


def test_one_block_logged_twice_is_one_commit_after_the_fold(tmp_path: Path) -> None:
    CommitLog(tmp_path).append([commit(1), commit(1)])
    CommitLog(tmp_path).append([commit(1)])
    assert CommitLog(tmp_path).fold() == [commit(1)]


def test_lines_after_the_fold_go_to_a_new_file(tmp_path: Path) -> None:
    log = CommitLog(tmp_path)
    log.append([commit(1)])
    log.fold()
    log.append([commit(2)])
    assert by_place(CommitLog(tmp_path).read()) == [commit(1), commit(2)]
    assert CommitLog(tmp_path).fold() == [commit(1), commit(2)]


class Killed(BaseException):
    pass


def killing(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The function, whose call number ``at`` never happens."""
    calls = iter(range(10_000))

    def call(*args: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise Killed
        return function(*args, **named)

    return call


@pytest.mark.parametrize(
    ("what", "where", "at"),
    [
        ("replace_file", commit_log, 0),  # before the table has its name
        ("unlink", Path, 0),  # before any worker's file went
        ("unlink", Path, 1),  # in between
        ("unlink", Path, 2),
    ],
)
def test_a_fold_killed_anywhere_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, where: Any, at: int
) -> None:
    commits = [commit(block) for block in range(9)]
    CommitLog(tmp_path).append(commits[:3])
    CommitLog(tmp_path).fold()
    for worker in range(3):
        CommitLog(tmp_path).append(commits[3 + 2 * worker : 5 + 2 * worker])
    with monkeypatch.context() as patch:
        patch.setattr(where, what, killing(getattr(where, what), at))
        with pytest.raises(Killed):
            CommitLog(tmp_path).fold()
    assert {repr(c) for c in CommitLog(tmp_path).read()} == {repr(c) for c in commits}
    assert CommitLog(tmp_path).fold() == commits


def test_a_disk_that_takes_half_a_line_does_not_swallow_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CommitLog(tmp_path)
    log.append([commit(1)])
    write, left = os.write, iter([20])

    def full(handle: int, data: bytes) -> int:
        room = next(left, 0)
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data[:room])

    with monkeypatch.context() as patch:
        patch.setattr(commit_log.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            log.append([commit(2)])
    log.append([commit(3)])
    assert by_place(CommitLog(tmp_path).read()) == [commit(1), commit(3)]


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(commit_log.os, "write", lambda handle, data: write(handle, data[:7]))
    log = CommitLog(tmp_path)
    log.append([commit(1), commit(2, counts={"ok": 5})])
    assert log.read() == [commit(1), commit(2, counts={"ok": 5})]


def test_threads_and_processes_append_side_by_side(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from pairmill.sharding.commit_log import Commit, CommitLog\n"
        "log = CommitLog(pathlib.Path(sys.argv[1]))\n"
        "for block in range(1000, 1100): log.append([Commit(block, 0, 'x', 0, 1)])\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    log = CommitLog(tmp_path)
    threads = [
        threading.Thread(target=lambda n=n: [log.append([commit(n * 50 + i)]) for i in range(50)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait() == 0
    assert [c.block for c in CommitLog(tmp_path).fold()] == [*range(200), *range(1000, 1100)]


def test_a_hundred_thousand_commits_are_read_without_looking_at_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (json.dumps(commit(block).__dict__) + "\n" for block in range(100_000))
    (tmp_path / "worker.jsonl").write_text("".join(lines))
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self) or original(self, *a, **k))
    commits = CommitLog(tmp_path).fold()
    assert len(commits) == 100_000
    assert commits[99_999] == commit(99_999)
    assert CommitLog(tmp_path).fold() == commits
    assert len(opened) <= 4
