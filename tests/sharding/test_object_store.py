"""Objects under a URL: put whole and exclusively, listed at once, and what is wrong told in one line."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pairmill.sharding import object_store
from pairmill.sharding.errors import UsageError
from pairmill.sharding.object_store import ObjectStore, StoreError, check_store, wait_until_listed


@pytest.fixture(params=["memory", "s3", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "memory":
        pytest.importorskip("fsspec")
        yield ObjectStore(f"memory://bucket/{tmp_path.name}")
    else:
        yield ObjectStore(request.getfixturevalue(request.param).new_url())


def file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_what_is_put_is_there_is_listed_and_goes(store: ObjectStore, tmp_path: Path) -> None:
    assert store.sizes() == {}
    assert store.entries() == []
    assert store.size("a/b") is None
    assert store.bytes_of("a/b") is None
    store.put(file(tmp_path, "one", b"12345"), "a/b")
    store.put_bytes("a/c/d", b"")
    store.put_bytes("e", b"1")
    assert store.sizes() == {"a/b": 5, "a/c/d": 0, "e": 1}
    assert store.sizes("a") == {"a/b": 5, "a/c/d": 0}
    assert store.sizes("a/c") == {"a/c/d": 0}
    assert store.entries() == ["a", "e"]
    assert store.entries("a") == ["b", "c"]
    store.put_bytes("e", b"another")
    assert store.bytes_of("e") == b"another"
    assert store.get("a/b", tmp_path / "x" / "y")
    assert (tmp_path / "x" / "y").read_bytes() == b"12345"
    assert not store.get("a/none", tmp_path / "z")
    assert not list(tmp_path.glob("*tmp*"))
    store.get_all(["a/b", "a/c/d", "e"], tmp_path / "all")
    assert (tmp_path / "all" / "e").read_bytes() == b"another"
    assert (tmp_path / "all" / "a" / "c" / "d").read_bytes() == b""
    store.remove(["e", "none"])
    store.remove(["a/b", "a/c/d", "no", "nor"])
    assert store.sizes() == {}


def test_the_first_one_counts_and_the_loser_gets_its_bytes(store: ObjectStore, tmp_path: Path) -> None:
    ours, theirs, winner = file(tmp_path, "1", b"ours"), file(tmp_path, "2", b"theirs"), tmp_path / "winner"
    assert store.put_new(ours, "final", winner)
    assert not winner.exists()
    assert not store.put_new(theirs, "final", winner)
    assert winner.read_bytes() == b"ours" == store.bytes_of("final")
    assert store.put_new(ours, "final", winner)  # as when the answer to the first put was lost
    assert store.put_new_bytes("small", b"1")
    assert not store.put_new_bytes("small", b"2")
    assert store.put_new_bytes("small", b"1")


def test_of_many_at_once_one_wins(s3: Any) -> None:
    store = ObjectStore(s3.new_url())
    together = threading.Barrier(8)

    def put(number: int) -> bool:
        together.wait()
        return store.put_new_bytes("final", f"{number}".encode())

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(put, range(8)))
    assert won.count(True) == 1
    assert store.bytes_of("final") == f"{won.index(True)}".encode()


def test_an_object_of_several_parts_is_put_exclusively_too(s3: Any, tmp_path: Path) -> None:
    store = ObjectStore(s3.new_url())
    big = tmp_path / "big"
    with big.open("wb") as opened:
        opened.truncate(101 << 20)  # s3fs puts what is smaller in one request
    other = tmp_path / "other"
    with other.open("wb") as opened:
        opened.truncate((101 << 20) + 1)
    assert store.put_new(big, "big", tmp_path / "winner")
    assert not store.put_new(other, "big", tmp_path / "winner")
    assert (tmp_path / "winner").stat().st_size == 101 << 20 == store.size("big")


def test_a_store_that_serves_passes_and_nothing_is_left(store: ObjectStore) -> None:
    check_store(store)
    assert store.sizes() == {}


def test_the_stores_own_clock_tells_what_came_later(store: ObjectStore) -> None:
    store.put_bytes("a", b"")
    time.sleep(1.1)  # S3 tells whole seconds
    store.put_bytes("b", b"")
    assert 0 < store.modified("b") - store.modified("a") < 100


def refused(url: str) -> str:
    with pytest.raises(UsageError) as raised:
        check_store(ObjectStore(url))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_a_store_is_told() -> None:
    assert "stores are s3://, gs://, or a folder that every worker has mounted" in refused("ftp://host/build")
    assert "name a folder in the bucket, such as memory://bucket/build" in refused("memory://bucket")


@pytest.mark.parametrize(("scheme", "server"), [("s3", "s3"), ("gs", "gcs")])
def test_a_bucket_that_is_not_there(scheme: str, server: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(server)
    told = refused(f"{scheme}://no-such-bucket-here/build")
    assert "there is no bucket no-such-bucket-here; create it" in told


def test_wrong_credentials(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not s3.strict:
        pytest.skip("this server lets everybody in")
    url = s3.new_url()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "access is denied" in refused(url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    assert "access is denied" in refused(url)


def test_no_credentials(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = s3.new_url()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert "there are no credentials; give them in the environment" in refused(url)


def test_a_store_that_is_not_there(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "PAUSE_S", 0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "does not answer" in refused(s3.new_url())


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.registry import _registry

    for scheme in ("s3", "gs"):
        monkeypatch.delitem(_registry, scheme, raising=False)
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    assert "needs the package s3fs: pip install 'pairmill[s3]'" in refused("s3://bucket/build")
    assert "needs the package gcsfs: pip install 'pairmill[gs]'" in refused("gs://bucket/build")


class Careless(ObjectStore):
    """Takes the second put too."""

    def put_new_bytes(self, name: str, data: bytes) -> bool:
        self.put_bytes(name, data)
        return True


def test_a_store_that_takes_every_put_is_refused() -> None:
    with pytest.raises(UsageError, match="does not honour conditional puts"):
        check_store(Careless("memory://bucket/careless"))


def test_a_listing_may_come_late_but_not_never(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([[], ["a"], ["a", "b"]])
    wait_until_listed(lambda: next(looks), ["a", "b"], "s3://x/y")
    monkeypatch.setattr(object_store, "LISTED_WITHIN_S", 0.2)
    with pytest.raises(StoreError, match="does not list b 0 s after it was written: listings that come late would"):
        wait_until_listed(lambda: ["a"], ["a", "b"], "s3://x/y")


def test_a_store_that_never_answers_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "CHECK_WITHIN_S", 0.2)
    store = ObjectStore("memory://bucket/silent")
    never = threading.Event()
    monkeypatch.setattr(store, "put_new_bytes", lambda name, data: never.wait(30))
    with pytest.raises(UsageError, match="memory://bucket/silent: it does not answer in 0 s; check its address"):
        check_store(store)
    never.set()


def failing(times: int, error: Callable[[], Exception], then: Callable[..., Any]) -> Callable[..., Any]:
    left = iter(range(times))

    def call(*args: Any, **named: Any) -> Any:
        if next(left, None) is not None:
            raise error()
        return then(*args, **named)

    return call


def test_a_fault_that_passes_is_not_noticed_and_one_that_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "PAUSE_S", 0.001)
    store = ObjectStore("memory://bucket/faults")
    files = store._files
    with monkeypatch.context() as patch:
        patch.setattr(files, "pipe_file", failing(1, lambda: OSError(5, "SlowDown"), files.pipe_file))
        store.put_bytes("a", b"1")
    assert store.bytes_of("a") == b"1"
    with monkeypatch.context() as patch:
        patch.setattr(files, "cat_file", failing(99, lambda: OSError(5, "Service Unavailable"), files.cat_file))
        with pytest.raises(StoreError, match=r"memory://bucket/faults: cannot read a from .*: .*Service Unavailable; "):
            store.bytes_of("a")


def test_a_put_whose_answer_was_lost_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = ObjectStore("memory://bucket/lost")
    put = store._files.put_file

    def lost(*args: Any, **named: Any) -> None:
        put(*args, **named)
        raise TimeoutError("Read timeout")

    monkeypatch.setattr(store._files, "put_file", lost)
    assert store.put_new(file(tmp_path, "a", b"ours"), "a", tmp_path / "winner")
    assert not store.put_new(file(tmp_path, "b", b"more"), "a", tmp_path / "winner")
