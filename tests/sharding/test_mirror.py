"""Files that stand for objects: here when they are asked for, in the store before they have their name."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.sharding import mirror, network_mount, object_store
from pairmill.sharding.column_files import attempt_path, publish_once
from pairmill.sharding.commit_log import Commit, CommitLog
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.exchange import BatchWriter, read_batch
from pairmill.sharding.mirror import (
    close_mirrors,
    entries,
    fetched,
    fetched_all,
    fresh,
    is_mirrored,
    is_there,
    listed,
    open_place,
    place_of,
    pull,
    remove_file,
    remove_tree,
    settle,
    settle_once,
    shown,
    size_of,
    upload,
    upload_folder,
)
from pairmill.sharding.mirror_space import CacheSpace
from pairmill.sharding.object_store import ObjectStore, StoreError
from pairmill.sharding.publish import publish_bytes


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("PAIRMILL_CACHE", str(tmp_path / "cache"))
    yield f"memory://bucket/{tmp_path.name}"
    close_mirrors()


def attempt_at(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    attempt.write_bytes(data)
    return attempt


def forget(folder: Path) -> Path:
    """As another machine sees it: nothing is here yet."""
    url = place_of(folder)
    close_mirrors()
    return open_place(url)


def test_a_path_is_itself_and_nothing_is_asked_of_a_store(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert open_place(str(path)) == open_place(path) == path
    assert place_of(path) == shown(path) == str(path)
    assert not is_mirrored(path)
    settle(attempt_at(path, b"1"), path)
    assert path.read_bytes() == b"1"
    assert fetched(path) is path
    assert fetched_all([path]) == [path]
    assert settle_once(attempt_at(path, b"2"), path) is None
    assert listed(tmp_path, "*/b") == [path]
    assert entries(path.parent)[0] == "b"
    assert size_of(path) == 1
    assert path.stat().st_mode & stat.S_IWUSR
    remove_file(path)
    assert not is_there(path)
    remove_tree(path.parent)
    assert entries(path.parent) == []


def test_what_has_its_name_is_in_the_store_and_here_for_others_when_asked_for(url: str) -> None:
    folder = open_place(url)
    path = folder / "a" / "b.parquet"
    settle(attempt_at(path, b"12345"), path)
    assert ObjectStore(url).bytes_of("a/b.parquet") == b"12345"
    assert not path.stat().st_mode & stat.S_IWUSR
    assert place_of(path) == shown(path) == f"{url}/a/b.parquet"
    assert place_of(folder) == url
    folder = forget(folder)
    path = folder / "a" / "b.parquet"
    assert not path.exists()
    assert is_there(path)
    assert size_of(path) == 5
    assert listed(folder / "a", "*.parquet") == [path]
    assert entries(folder) == ["a"]
    assert fetched(path).read_bytes() == b"12345"
    with pytest.raises(FileNotFoundError):
        fetched(folder / "a" / "c")
    remove_file(path)
    assert not path.exists()
    assert ObjectStore(url).sizes() == {}


def test_a_name_is_given_once_and_the_loser_has_the_winners_file(url: str) -> None:
    path = open_place(url) / "columns" / "x"
    assert publish_once(attempt_at(path, b"first"), path)
    assert path.read_bytes() == b"first"
    path = forget(path.parents[1]) / "columns" / "x"
    attempt = attempt_at(path, b"second")
    assert not publish_once(attempt, path)
    assert path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["x"]


def test_a_put_that_fails_gives_no_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = open_place(url) / "dataset" / "shard.tar"

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("AccessDenied")

    with monkeypatch.context() as patch:
        patch.setattr(mirror._MIRRORS[url].store._files, "put_file", refuse)
        with pytest.raises(StoreError, match=r"cannot write dataset/shard.tar from .*access is denied"):
            publish_bytes(path, b"1")
    assert not list(path.parent.iterdir())
    publish_bytes(path, b"2")
    assert fetched(forget(open_place(url)) / "dataset" / "shard.tar").read_bytes() == b"2"


def test_what_grows_and_what_changes_is_read_anew(url: str) -> None:
    folder = open_place(url)
    log = CommitLog(folder / "log")
    log.append([Commit(1, 0, "a", 0, 10)])
    log.append([Commit(2, 0, "a", 1, 20)])
    assert {c.block for c in log.read()} == {1, 2}
    log.append([Commit(3, 0, "b", 0, 30)])  # the read has not cut off what this process writes to
    other = CommitLog(forget(folder) / "log")
    assert {c.block for c in other.read()} == {1, 2, 3}
    assert len(other.fold()) == 3
    assert [path.name for path in listed(open_place(url) / "log", "*")] == ["folded.parquet"]
    path = open_place(url) / "work.json"
    publish_bytes(path, b"1")
    ObjectStore(url).put_bytes("work.json", b"22")
    assert fresh(path).read_bytes() == b"22"
    ObjectStore(url).remove(["work.json"])
    assert not fresh(path).exists()


def test_a_log_is_begun_anew_before_it_is_long(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommitLog, "MAX_PUT_BYTES", 500)
    log = CommitLog(open_place(url) / "log")
    for block in range(40):
        log.append([Commit(block, 0, "a", block, 1)])
        log.progress(1)
    sizes = ObjectStore(url).sizes()
    assert len(sizes) > 5
    assert max(sizes.values()) < 1000
    assert {c.block for c in CommitLog(forget(open_place(url)) / "log").read()} == set(range(40))


def test_exchanged_rows_come_from_other_machines(url: str) -> None:
    folder = open_place(url)
    for number in range(3):
        with BatchWriter(folder / "parts" / f"{number:06d}.arrow") as writer:
            writer.write(pl.DataFrame({"a": [number]}))
    folder = forget(folder)
    paths = listed(folder / "parts", "*.arrow")
    assert [path.name for path in paths] == [f"{n:06d}.arrow" for n in range(3)]
    assert read_batch(paths[1], 0)["a"].to_list() == [1]
    assert not paths[2].exists()


def test_a_folder_is_pulled_once_a_moment_without_its_large_files(url: str) -> None:
    folder = open_place(url)
    (folder / "parts" / "index").mkdir(parents=True)
    for name in ("keys", "rows.json"):
        (folder / "parts" / "index" / name).write_bytes(b"1")
    (folder / "parts" / "index" / "half.tmp-1").write_bytes(b"")
    upload_folder(folder / "parts")
    publish_bytes(folder / "parts" / "big.arrow", b"1")
    folder = forget(folder)
    pull(folder / "parts", "first", (".arrow",))
    found = sorted(path.name for path in (folder / "parts").rglob("*") if path.is_file())
    assert found == ["keys", "rows.json"]
    ObjectStore(url).put_bytes("parts/later.json", b"1")
    pull(folder / "parts", "first", (".arrow",))
    assert not (folder / "parts" / "later.json").exists()
    pull(folder / "parts", "second", (".arrow",))
    assert (folder / "parts" / "later.json").exists()


def test_what_this_process_put_must_be_listed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "LISTED_WITHIN_S", 0.1)
    folder = open_place(url) / "parts" / "uids"
    publish_bytes(folder_ready(folder) / "000000.arrow", b"1")
    monkeypatch.setattr(mirror._MIRRORS[url].store, "sizes", lambda prefix="": {})
    with pytest.raises(StoreError, match=r"does not list 000000.arrow"):
        listed(folder, "*.arrow")


def folder_ready(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_mirror_that_nobody_uses_is_removed_and_one_in_use_is_shared(url: str, tmp_path: Path) -> None:
    folder = open_place(url)
    publish_bytes(folder / "a", b"1")
    code = (
        "import sys; from pairmill.sharding.mirror import open_place\n"
        "folder = open_place(sys.argv[1]); found = sorted(p.name for p in folder.iterdir())\n"
        "(folder / 'b').write_text('1'); print(found, flush=True); sys.stdin.readline()\n"
        "import os; os._exit(1)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "['a']\n"
    close_mirrors()
    assert (folder / "b").exists()  # the other one has it open
    other.stdin.close()
    other.wait()
    open_place("memory://bucket/else")
    assert not folder.exists()  # what a killed process left


def test_room_is_made_of_what_was_not_asked_for_longest(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_place(url)
    for number in range(10):
        path = folder / "spool" / f"{number}.tar"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(1000))
        upload(path)
        os.utime(path, (1000 + number, 1000 + number))
    unfinished = folder / "spool" / "open.tar"
    unfinished.write_bytes(bytes(5000))
    os.utime(unfinished, (1, 1))
    publish_bytes(folder / "plan.json", bytes(500))
    fetched(folder / "spool" / "0.tar")
    space = CacheSpace(folder.parents[1])
    space.trim(5000)
    left = sorted(path.name for path in (folder / "spool").iterdir())
    assert left == ["0.tar", "7.tar", "8.tar", "9.tar", "open.tar"]  # 4,500 bytes at most; what is not put stays
    assert (folder / "plan.json").exists()
    assert fetched(folder / "spool" / "3.tar").stat().st_size == 1000


def test_a_limit_is_kept_while_files_come_in(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRMILL_CACHE_GB", "0.00001")  # 10,000 bytes
    monkeypatch.setattr("pairmill.sharding.mirror_space.KEEP_S", -1.0)
    folder = open_place(url)
    for number in range(40):
        path = folder_ready(folder / "spool") / f"{number}.tar"
        path.write_bytes(bytes(1000))
        upload(path)
    assert sum(path.stat().st_size for path in (folder / "spool").iterdir()) <= 11_000
    assert len(ObjectStore(url).sizes()) == 40


def test_a_limit_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for told in ("much", "0", "-1", "nan"):
        monkeypatch.setenv("PAIRMILL_CACHE_GB", told)
        with pytest.raises(UsageError, match=f"PAIRMILL_CACHE_GB={told}: give the GB"):
            CacheSpace(tmp_path)


def test_a_full_disk_is_told_with_its_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_place(url)
    publish_bytes(folder / "a", b"1")
    folder = forget(folder)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mirror._MIRRORS[url].store._files, "get_file", full)
    with pytest.raises(PairmillError, match=r"the cache folder .* on .* is full; give PAIRMILL_CACHE a larger disk"):
        fetched(folder / "a")


def test_a_link_that_was_made_though_its_answer_was_lost_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(source: Any, target: Any) -> None:
        link(source, target)
        link(source, target)  # as a client asks again that had no answer

    monkeypatch.setattr(os, "link", twice)
    final = tmp_path / "final"
    assert publish_once(attempt_at(final, b"ours"), final)
    assert not publish_once(attempt_at(final, b"theirs"), final)
    assert final.read_bytes() == b"ours"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_a_name_that_shows_late_is_waited_for_on_a_shared_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "late"
    assert not network_mount.wait_until_seen(path)  # a disk of this machine does not keep things back
    looked = []

    def refresh(folder: Path) -> None:
        looked.append(folder)
        if len(looked) == 3:
            path.write_text("1")

    monkeypatch.setattr(network_mount, "is_networked", lambda folder: True)
    monkeypatch.setattr(network_mount, "refresh_folder", refresh)
    assert network_mount.wait_until_seen(path)
    assert len(looked) == 3
    monkeypatch.setattr(network_mount, "SEEN_WITHIN_S", 0.2)
    began = time.monotonic()
    assert not network_mount.wait_until_seen(tmp_path / "never")
    assert time.monotonic() - began < 60


def test_a_look_leaves_nothing_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_mount, "is_networked", lambda folder: True)
    network_mount.refresh_folder(tmp_path)
    network_mount.refresh_folder(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())
