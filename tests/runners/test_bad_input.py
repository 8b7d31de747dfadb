"""What a run refuses, with one line and a code, and what it then leaves as it was."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Build, Mill, Served

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")

OTHERS = {
    "another pool": (("--set", "pool.block_rows=30"), "is the work folder of another pool", False),
    "other fetch settings": (("--set", "image.quality=80"), "was fetched with image.quality = 95", False),
    "another recipe": (("--set", "seed=5"), "is the build of another recipe or pool (demo)", True),
}


@pytest.mark.parametrize("case", OTHERS)
def test_folders_of_something_else_are_refused_and_kept(
    mill: Mill, finished: Build, served: Served, tmp_path: Path, case: str
) -> None:
    options, told, same_out = OTHERS[case]
    before = mill.files(finished.out, finished.work)
    build = finished if same_out else replace(finished, out=tmp_path / "new")
    line = mill.refused(build, *options, code=2)
    assert told in line
    assert f"choose another --{'out' if same_out else 'work'}" in line
    assert mill.files(finished.out, finished.work) == before
    assert not served.asked


@pytest.mark.parametrize("which", ["out", "work"])
def test_folders_of_other_people_are_refused_and_kept(mill: Mill, fresh: Build, which: str) -> None:
    folder = getattr(fresh, which)
    folder.mkdir()
    (folder / "thesis.txt").write_text("the only copy")
    line = mill.refused(fresh, code=2)
    assert f"{folder} is not empty and no {'build' if which == 'out' else 'work'} folder" in line
    assert (folder / "thesis.txt").read_text() == "the only copy"


@pytest.mark.parametrize(("which", "place"), [("out", "a file"), ("work", "below a file"), ("work", "no permission")])
def test_a_place_where_no_folder_can_be(mill: Mill, fresh: Build, tmp_path: Path, which: str, place: str) -> None:
    file = tmp_path / "file"
    file.write_text("here first")
    where = {"a file": file, "below a file": file / "deep" / "down", "no permission": Path("/proc/pairmill")}[place]
    line = mill.refused(replace(fresh, **{which: where}), code=2)
    assert str(where) in line or str(file) in line or "/proc" in line
    assert file.read_text() == "here first"


def test_two_runs_on_one_work_folder(mill: Mill, finished: Build, fresh: Build, served: Served, tmp_path: Path) -> None:
    """The second is refused at once, whatever its build folder; the first never knows."""
    served.delay_s = 3.0
    first = mill.start(fresh, "--quiet")
    assert mill.until(lambda: served.asked, first)
    for other in (replace(fresh, out=tmp_path / "other"), fresh):
        line = mill.refused(other, code=1)
        assert f"is in use by process {first.pid}" in line
        assert "wait for it" in line
    served.delay_s = 0.0
    _, told = first.communicate(timeout=60)
    assert (first.returncode, told) == (0, "")
    assert fresh.dataset() == finished.dataset()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of that size at ``folder``, which can be made larger; skips where none can be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@NEEDS_ROOT
@pytest.mark.parametrize(("which", "size", "workers"), [("work", "2m", 2), ("out", "2m", 1)])
def test_a_full_disk_is_told_and_more_room_finishes(
    mill: Mill, finished: Build, fresh: Build, tmp_path: Path, which: str, size: str, workers: int
) -> None:
    with small_disk(tmp_path / "small", size) as grow:
        build = replace(fresh, **{which: tmp_path / "small" / "it"})
        line = mill.refused(build, "--quiet", "--workers", str(workers), code=1)
        assert "No space left on device" in line or "are free on this disk" in line  # full, or seen to become so
        assert "run the same command again: " in line
        assert "kept" in line
        assert not (build.out / "dataset" / "manifest.json").exists()
        grow("64m")
        mill.run(build, "--workers", str(workers))
        assert build.dataset() == finished.dataset()
        build.assert_all_accounted_for()
        build.assert_nothing_left_over()


@NEEDS_ROOT
@pytest.mark.parametrize("which", ["work", "out"])
def test_too_small_a_disk_is_refused_before_work(
    mill: Mill, fresh: Build, served: Served, tmp_path: Path, which: str
) -> None:
    with small_disk(tmp_path / "small", "2m"):
        line = mill_that_checks(mill).refused(replace(fresh, **{which: tmp_path / "small" / "it"}), code=2)
        assert f"{tmp_path / 'small'}: up to 0.0 GB are needed for 120 rows" in line
        assert "--no-space-check" in line
        assert not list((tmp_path / "small").iterdir())
    assert not served.asked


def mill_that_checks(mill: Mill) -> Mill:
    return replace(mill, checks_space=True)
