"""``pairmill run --runner flink`` on a real session cluster: the same bytes, whatever is killed while it runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import ROWS

if TYPE_CHECKING:
    from conftest import Build, Mill, Served
    from flink_here import FlinkHere

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flink")]


def begin(mill: Mill, build: Build, flink: FlinkHere, served: Served) -> subprocess.Popen[str]:
    """Start a run, and return when it fetches: some blocks are committed, others are not."""
    served.delay_s = 0.5
    process = mill.start(build, "--quiet", *flink.options())
    assert mill.until(build.fetched_rows, process), process.communicate()
    assert len(build.fetched_rows()) < ROWS
    return process


def ended(process: subprocess.Popen[str]) -> str:
    """The one line with which a run gave up."""
    out, told = process.communicate(timeout=90)
    lines = told.strip().splitlines()
    assert (process.returncode, out, len(lines)) == (1, "", 1), told
    return lines[0]


def resume(mill: Mill, build: Build, flink: FlinkHere, served: Served, finished: Build) -> None:
    """The same command finishes: nothing that was committed is asked for again, and no byte tells what happened."""
    served.delay_s = 0.0
    flink.mend()
    done, asked = build.fetched_rows(), len(served.asked)
    mill.run(build, "--quiet", *flink.options())
    assert not served.paths_of(done) & set(served.asked[asked:])
    assert build.dataset() == finished.dataset()
    build.assert_all_accounted_for()
    build.assert_nothing_left_over()


def test_a_cluster_changes_no_byte(mill: Mill, fresh: Build, finished: Build, flink: FlinkHere) -> None:
    before = set(flink.jobs("FINISHED"))
    told = mill.run(fresh, *flink.options())
    assert "pairs kept" in " ".join(told.split())
    assert fresh.report()["rejected"] == finished.report()["rejected"]
    assert fresh.dataset() == finished.dataset()
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()
    (job,) = set(flink.jobs("FINISHED")) - before
    assert len(flink.task_managers_of(job)) == 2


def test_a_task_manager_that_is_replaced_costs_nothing(
    mill: Mill, fresh: Build, finished: Build, served: Served, flink: FlinkHere
) -> None:
    """Flink begins the tasks again, in the same run; they find what was committed."""
    process = begin(mill, fresh, flink, served)
    done, asked = fresh.fetched_rows(), len(served.asked)
    flink.kill("task-manager-0")
    served.delay_s = 0.0
    flink.mend()
    _, told = process.communicate(timeout=240)
    assert (process.returncode, told) == (0, "")
    assert not served.paths_of(done) & set(served.asked[asked:])
    assert fresh.dataset() == finished.dataset()
    fresh.assert_all_accounted_for()


@pytest.mark.parametrize("victim", ["pool-1", "job-manager"])
def test_what_is_killed_costs_no_block_that_was_fetched(
    victim: str, mill: Mill, fresh: Build, finished: Build, served: Served, flink: FlinkHere
) -> None:
    process = begin(mill, fresh, flink, served)
    flink.kill(victim)
    assert "run the same command again" in ended(process).lower()
    resume(mill, fresh, flink, served, finished)


def test_a_worker_that_lives_on_harms_nothing(
    mill: Mill, fresh: Build, finished: Build, served: Served, flink: FlinkHere
) -> None:
    served.delay_s = 1.0
    process = mill.start(fresh, "--quiet", *flink.options())
    at_work: dict[int, int] = {}  # worker → number of its pool

    def stopped() -> bool:
        for number in range(flink.task_managers):
            at_work.update({pid: number for pid in mill.workers(flink.pool(number)) if writes_tars(pid)})
        for pid in at_work:
            os.kill(pid, signal.SIGSTOP)
        return bool(at_work)

    assert mill.until(stopped, process), process.communicate()
    mill.kill(process)
    for number in set(at_work.values()):
        flink.kill(f"task-manager-{number}")
    flink.mend()
    asked = len(served.asked)
    process = mill.start(fresh, "--quiet", *flink.options())
    assert mill.until(lambda: len(served.asked) > asked, process), process.communicate()
    for pid in at_work:
        os.kill(pid, signal.SIGCONT)
    served.delay_s = 0.0
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")
    assert fresh.dataset() == finished.dataset()
    fresh.assert_all_accounted_for()


def writes_tars(pid: int) -> bool:
    """Whether a worker is in the middle of a block."""
    opened = []
    with suppress(OSError):  # a file that is closed meanwhile
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            opened.append(os.readlink(handle))
    return any("/spool/" in name for name in opened)


def test_a_pool_that_is_not_there_is_named(mill: Mill, fresh: Build, flink: FlinkHere) -> None:
    options = [word.replace(flink.cluster.worker_pool, "worker-pool:1") for word in flink.options()]
    told = mill.refused(fresh, "--quiet", *options, code=1)
    assert "is a worker pool at worker-pool:1, as the cluster sees it" in told
    assert not flink.jobs("RUNNING", "RESTARTING")


def test_ctrl_c_cancels_the_job(mill: Mill, fresh: Build, finished: Build, served: Served, flink: FlinkHere) -> None:
    process = begin(mill, fresh, flink, served)
    assert flink.jobs("RUNNING")
    told = mill.call([mill.command(fresh)[0], "status", str(fresh.out)]).stdout.splitlines()
    assert f"{ROWS} rows in 6 blocks read" in told[1]
    assert told[-1] == f"not finished: process {process.pid} on {socket.gethostname()} is at work"
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=90)
    assert process.returncode == 130
    assert not flink.jobs("RUNNING")
    resume(mill, fresh, flink, served, finished)


def test_a_job_that_a_killed_run_left_behind_is_cancelled(
    mill: Mill, fresh: Build, finished: Build, served: Served, flink: FlinkHere
) -> None:
    process = begin(mill, fresh, flink, served)
    mill.kill(process)
    (left,) = flink.jobs("RUNNING")
    resume(mill, fresh, flink, served, finished)
    assert left in flink.jobs("CANCELED", "FAILED")
