"""Worker processes: how many there are changes nothing, and one that dies ends the run with one line."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Build, Mill, Served


def test_four_workers_over_the_spool_of_one_change_no_byte(mill: Mill, finished: Build, tmp_path: Path) -> None:
    again = replace(finished, out=tmp_path / "again")
    mill.run(again, "--workers", "4")
    assert again.dataset() == finished.dataset()
    assert mill.files(again.out / "ledger") == mill.files(finished.out / "ledger")


def test_two_workers_fetch_and_make_what_one_does(mill: Mill, finished: Build, fresh: Build, served: Served) -> None:
    mill.run(fresh, "--workers", "2")
    assert fresh.dataset() == finished.dataset()
    assert mill.files(fresh.out / "ledger") == mill.files(finished.out / "ledger")
    assert sorted(fresh.fetched_rows()) == sorted(finished.fetched_rows())
    fetched = served.paths_of(fresh.fetched_rows())
    assert {path for path in served.asked if path in fetched} == fetched
    once = [path for path in served.asked if "/odd/" not in path]
    assert len(once) == len(set(once))  # however many rows and lanes share the image


def test_a_killed_worker_ends_the_run_with_one_line(mill: Mill, finished: Build, fresh: Build, served: Served) -> None:
    served.delay_s = 0.2
    process = mill.start(fresh, "--workers", "2", "--quiet")
    assert mill.until(lambda: len(served.asked) > 8, process)
    first, second = mill.workers(process)
    os.kill(second, signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told.startswith("pairmill: a worker process was killed by SIGKILL")
    assert told.rstrip().endswith("run the same command again: finished blocks are kept")
    assert told.count("\n") == 1
    assert not mill.is_alive(first)
    served.delay_s = 0.0
    mill.run(fresh, "--workers", "2")
    assert fresh.dataset() == finished.dataset()
    fresh.assert_nothing_left_over()


def test_workers_leave_a_killed_driver(mill: Mill, fresh: Build, served: Served) -> None:
    served.delay_s = 0.5
    process = mill.start(fresh, "--workers", "2", "--quiet")
    assert mill.until(lambda: len(served.asked) > 8, process)
    workers = mill.workers(process)
    assert len(workers) == 2
    process.kill()
    assert mill.until(lambda: not any(mill.is_alive(pid) for pid in workers))
    process.communicate()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_at_once_in_one_line(mill: Mill, fresh: Build, served: Served, workers: int) -> None:
    served.delay_s = 0.5
    process = mill.start(fresh, "--workers", str(workers), "--quiet")
    assert mill.until(lambda: len(served.asked) > 8, process)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "pairmill: stopped; run the same command again to go on\n")
