"""The work folder: one pool, one set of fetch settings, one writer at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pairmill.pipeline.work import LOCK_NAME, WorkIdentity, check_work, holds_more_than, lock_folder
from pairmill.sharding.errors import PairmillError, UsageError

OURS = WorkIdentity("abc", "pool.csv", {"image.size": 512, "fetch.opt_out_directives": ["noai"], "fetch.x": 0.1})


def test_a_new_folder_is_taken_and_known_again(tmp_path: Path) -> None:
    check_work(tmp_path, OURS)
    before = (tmp_path / "work.json").read_bytes()
    check_work(tmp_path, OURS)
    check_work(tmp_path, replace(OURS, pool_name="moved.csv"))
    assert (tmp_path / "work.json").read_bytes() == before


def refusal(folder: Path, identity: WorkIdentity) -> str:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError) as raised:
        check_work(folder, identity)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert "\n" not in str(raised.value)
    assert "choose another --work" in str(raised.value)
    return str(raised.value)


def test_another_pool_is_refused(tmp_path: Path) -> None:
    check_work(tmp_path, OURS)
    told = refusal(tmp_path, WorkIdentity("xyz", "other.csv", OURS.fetch))
    assert f"{tmp_path} is the work folder of another pool (pool.csv, this is other.csv" in told


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"image.size": 256}, "was fetched with image.size = 512, the recipe says 256"),
        ({"fetch.opt_out_directives": []}, "fetch.opt_out_directives = ['noai'], the recipe says []"),
        ({"fetch.new": 1}, "was fetched with fetch.new = None, the recipe says 1"),
    ],
)
def test_another_fetch_is_refused_and_the_key_is_named(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    check_work(tmp_path, OURS)
    assert told in refusal(tmp_path, replace(OURS, fetch=OURS.fetch | changed))


def test_tuples_are_lists_on_disk_and_equal(tmp_path: Path) -> None:
    check_work(tmp_path, replace(OURS, fetch={"a": (1, 2)}))
    check_work(tmp_path, replace(OURS, fetch={"a": [1, 2]}))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "is not empty and no work folder" in refusal(tmp_path, OURS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '{"pool": "abc"}',
        '{"pool": "abc", "pool_name": "x", "fetch": 5, "format": "f"}',
        "\xff",
    ],
)
def test_a_damaged_mark_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "work.json").write_bytes(text.encode("latin-1"))
    assert "work.json is damaged" in refusal(tmp_path, OURS)


def test_a_later_format_is_told(tmp_path: Path) -> None:
    check_work(tmp_path, OURS)
    record = json.loads((tmp_path / "work.json").read_text())
    (tmp_path / "work.json").write_text(json.dumps(record | {"format_version": 99}))
    assert "is of format ('pairmill-work', 99), this is pairmill-work 1" in refusal(tmp_path, OURS)


def test_leftovers_of_a_killed_start_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "work.json.tmp-0123456789ab").write_text("{")
    (tmp_path / LOCK_NAME).write_text("")
    assert not holds_more_than(tmp_path, LOCK_NAME)
    check_work(tmp_path, OURS)
    assert holds_more_than(tmp_path, LOCK_NAME)
    assert not holds_more_than(tmp_path / "nowhere")


HOLD = """
import sys, time
from pathlib import Path
from pairmill.pipeline.work import lock_folder
with lock_folder(Path(sys.argv[1]), "the work folder"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "work"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(PairmillError) as raised, lock_folder(folder, "the work folder"):
            pass
        assert not isinstance(raised.value, UsageError)
        assert f"the work folder {folder} is in use by process {holder.pid} on " in str(raised.value)
        assert "\n" not in str(raised.value)
        second = subprocess.run([sys.executable, "-c", HOLD, str(folder)], capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"PairmillError: the work folder {folder} is in use by process {holder.pid}" in second.stderr
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with lock_folder(folder, "the work folder"):
            assert f"process {os.getpid()} on " in (folder / LOCK_NAME).read_text()
    finally:
        holder.kill()
        holder.wait()


def test_a_lock_is_given_back_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock_folder(tmp_path, "the build folder"):
        raise KeyError
    with lock_folder(tmp_path, "the build folder"):
        pass


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(UsageError, match=r"the build folder .*; choose a folder that can be written"),
            lock_folder(folder, "the build folder"),
        ):
            pass
