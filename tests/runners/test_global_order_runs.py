"""The global order over Beam: any number of workers, either way, and kills on it give the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Build, Mill

GLOBAL = ("--set", "shards.order=global")
TWO_PASSES = (*GLOBAL, "--set", "shards.random_read_bytes=1")
#: What a run in two passes leaves on the disk on its way.
POINTS = ("parts/*/ordered/*", "parts/*/move.json", "parts/*/moved-images/*/*", "parts/shards/*.json")


def test_workers_ways_and_kills_change_no_byte(mill: Mill, copied: Build, tmp_path: Path) -> None:
    one, two, killed = (replace(copied, out=tmp_path / name) for name in ("one", "two", "killed"))
    told = mill.run(one, *GLOBAL)
    assert "order global" in told
    assert "images read at random places of the spool" in told
    assert one.dataset() != copied.dataset()
    one.assert_all_accounted_for()
    done = mill.call(mill.command(two, *TWO_PASSES, "--workers", "2"))
    assert done.returncode == 0, done.stderr
    assert "bytes move three times" in done.stdout
    assert two.dataset() == one.dataset()
    assert mill.files(two.out / "ledger") == mill.files(one.out / "ledger")
    for point in POINTS:
        process = mill.start(killed, *TWO_PASSES, "--quiet")
        before = set(killed.out.glob(point))
        mill.until(lambda known=before, point=point: set(killed.out.glob(point)) - known, process)  # type: ignore[misc]
        mill.kill(process)
    mill.run(killed, *TWO_PASSES, "--workers", "2", "--quiet")
    assert killed.dataset() == one.dataset()
    killed.assert_nothing_left_over()
