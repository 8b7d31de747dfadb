"""Runs killed with SIGKILL, at chosen points and at random: the same command finishes, and no byte tells of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Build, Mill, Served

#: What a run leaves on the disk on its way, in order: (name, folder in the build or the work folder, pattern).
POINTS = (
    ("pool read", "work", "log/pool-*/*.jsonl"),
    ("identities sent", "out", "parts/*/uids/*"),
    ("first block fetched", "work", "columns/fetch-*/*/*.parquet"),
    ("judging", "out", "parts/*/verdicts/*"),
    ("duplicates found", "out", "parts/*/duplicates/*"),
    ("first shard begun", "out", "dataset/*.tar.tmp-*"),
    ("first shard written", "out", "parts/shards/*.json"),
    ("ledger begun", "out", "ledger/*"),
    ("manifest written", "out", "dataset/manifest.json"),
)


def appears(folder: Path, pattern: str) -> Callable[[], bool]:
    """Whether a file is there that was not when this was asked for."""
    before = set(folder.glob(pattern))
    return lambda: bool(set(folder.glob(pattern)) - before)


def assert_nothing_fetched_twice(build: Build, served: Served, done: list[int], asked_before: int) -> None:
    again = served.paths_of(done) & set(served.asked[asked_before:])
    assert not again


def test_killed_at_every_step_it_finishes_as_if_it_never_was(
    mill: Mill, finished: Build, fresh: Build, served: Served
) -> None:
    reached = []
    for name, where, pattern in POINTS:
        done, asked = fresh.fetched_rows(), len(served.asked)
        served.delay_s = 0.02 if "block" in name else 0.0
        folder = fresh.work if where == "work" else fresh.out
        begun = appears(folder, pattern)
        process = mill.start(fresh, "--quiet")
        if mill.until(begun, process):
            reached.append(name)
        mill.kill(process)
        assert_nothing_fetched_twice(fresh, served, done, asked)
        assert (name == "manifest written") == (fresh.out / "dataset" / "manifest.json").is_file()
    assert reached == [name for name, _, _ in POINTS]
    asked = len(served.asked)
    mill.run(fresh)
    assert len(served.asked) == asked
    assert fresh.dataset() == finished.dataset()
    assert mill.files(fresh.out / "ledger") == mill.files(finished.out / "ledger")
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()


def test_killed_at_random_it_finishes_as_if_it_never_was(
    mill: Mill, finished: Build, fresh: Build, served: Served
) -> None:
    chance = random.Random(12)
    served.delay_s = 0.3  # a fetch of some seconds
    for _ in range(3):
        done, asked = fresh.fetched_rows(), len(served.asked)
        process = mill.start(fresh, "--workers", "2", "--quiet")
        # From the moment that it is at work: a process that only starts up has nothing to lose.
        if mill.until(lambda asked=asked: len(served.asked) > asked, process):  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 2.0))
        mill.kill(process)
        assert_nothing_fetched_twice(fresh, served, done, asked)
        served.delay_s /= 2
    served.delay_s = 0.0
    mill.run(fresh, "--workers", "2")
    assert fresh.dataset() == finished.dataset()
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()
    unkilled = replace(fresh, out=fresh.out.with_name("unkilled"))
    asked = len(served.asked)
    mill.run(unkilled)
    assert len(served.asked) == asked
    assert unkilled.dataset() == fresh.dataset()


def test_a_finished_build_is_only_told_again(mill: Mill, finished: Build, served: Served) -> None:
    before = mill.files(finished.out, finished.work)
    told = mill.run(finished)
    assert "pairs kept" in told
    assert mill.files(finished.out, finished.work) == before
    assert not served.asked
