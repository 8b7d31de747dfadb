"""The command on folders in a store: killed, refused, looked at from elsewhere, and the same bytes in the end."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import polars as pl
import pytest

from pairmill.sharding.object_store import ObjectStore

from .conftest import Build, Mill, Served, serving


@dataclass(frozen=True)
class InStore:
    """A build and its work folder below a URL; the ``Build`` they stand in for names them in commands."""

    mill: Mill
    stand_in: Build
    url: str

    def command(self, *options: str) -> list[str]:
        names = {str(self.stand_in.out): f"{self.url}/build", str(self.stand_in.work): f"{self.url}/work"}
        return [names.get(word, word) for word in self.mill.command(self.stand_in, *options)]

    def run(self, *options: str) -> str:
        done = self.mill.call(self.command(*options))
        assert done.returncode == 0, done.stderr
        return done.stderr

    def fetched_rows(self, folder: Path) -> list[int]:
        store = ObjectStore(f"{self.url}/work")
        names = [name for name in store.sizes("columns") if name.startswith("columns/fetch-")]
        store.get_all(names, folder)
        block_rows = next(int(word.split("=")[1]) for word in self.command() if word.startswith("pool.block_rows="))
        ids = [row for name in names for row in pl.read_parquet(folder / name, columns=["row_id"])["row_id"]]
        return [(row >> 16) * block_rows + (row & 0xFFFF) for row in ids]


@pytest.fixture
def in_store(mill: Mill, fresh: Build, s3: Any) -> InStore:
    return InStore(mill, fresh, s3.new_url())


@pytest.mark.slow
def test_killed_at_random_and_resumed_it_has_the_bytes_of_a_folder(
    in_store: InStore, mill: Mill, finished: Build, served: Served, s3: Any, tmp_path: Path
) -> None:
    chance = random.Random(5)
    served.delay_s = 0.2
    for number in range(3):
        done, asked = in_store.fetched_rows(tmp_path / f"seen-{number}"), len(served.asked)
        command = in_store.command("--workers", "2", "--quiet")
        process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True)
        if mill.until(lambda asked=asked: len(served.asked) > asked, process):  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 3.0))
        mill.kill(process)
        assert not served.paths_of(done) & set(served.asked[asked:])
        served.delay_s /= 2
    process = subprocess.Popen(in_store.command("--quiet"), stdout=-1, stderr=-1, text=True, start_new_session=True)
    store = ObjectStore(f"{in_store.url}/work")
    held = {name for name in store.entries() if name.startswith("pairmill.lease-")}
    assert mill.until(lambda: {n for n in store.entries() if n.startswith("pairmill.lease-")} - held, process)
    mill.kill(process)
    done, asked = in_store.fetched_rows(tmp_path / "seen"), len(served.asked)
    served.delay_s = 0.0
    told = in_store.run("--workers", "2", "--quiet")
    assert "is gone; this run takes its place" in told  # the one that was killed
    assert not served.paths_of(done) & set(served.asked[asked:])
    build = s3.copy_of(f"{in_store.url}/build", tmp_path / "copy")
    assert mill.files(build / "dataset") == mill.files(finished.out / "dataset")
    assert mill.files(build / "ledger") == mill.files(finished.out / "ledger")
    assert sorted(path.name for path in build.iterdir()) == ["build.json", "dataset", "kept", "ledger", "report.json"]
    assert not list((tmp_path / "cache").glob("*/files"))


def test_two_runs_at_once_are_refused_and_the_other_is_named(in_store: InStore, mill: Mill, served: Served) -> None:
    served.delay_s = 4.0
    first = subprocess.Popen(in_store.command("--quiet"), stdout=-1, stderr=-1, text=True, start_new_session=True)
    try:
        assert mill.until(lambda: served.asked, first)
        second = mill.call(in_store.command("--quiet"))
        assert second.returncode == 1
        assert f"pairmill: the build folder {in_store.url}/build is in use by process {first.pid} on " in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
    finally:
        mill.kill(first)


class Unsteady(BaseHTTPRequestHandler):
    """Stands between a client and a store, and refuses what ``refuses`` names, now and then or always."""

    protocol_version = "HTTP/1.1"  # a client asks before it sends a body
    target = ""
    share = 0.0
    refuses: tuple[str, ...] = ()
    status, code = 503, "ServiceUnavailable"
    chance = random.Random(3)
    refused = 0

    def answer(self) -> None:
        body, kind = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None, type(self)
        if self.command in kind.refuses and kind.chance.random() < kind.share:
            kind.refused += 1
            told = f"<?xml version='1.0'?><Error><Code>{kind.code}</Code><Message>not now</Message></Error>".encode()
            self.send_response(kind.status)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told)
            return
        headers = {"Content-Type": "application/octet-stream", **self.headers}  # urllib would say that it is a form
        headers.pop("Expect", None)
        request = Request(self.target + self.path, data=body, method=self.command, headers=headers)
        try:
            found = urlopen(request, timeout=60)
        except HTTPError as error:
            found = error
        data = found.read()
        self.send_response(found.status)
        for name, value in found.headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", found.headers.get("Content-Length") or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def unsteady(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Unsteady]]:
    handler = type("Handler", (Unsteady,), {"target": s3.endpoint, "chance": random.Random(3)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    # Bodies with a length, and nothing behind them.
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    yield handler
    server.shutdown()


@pytest.mark.slow
def test_a_store_that_fails_now_and_then_is_asked_again(
    in_store: InStore, unsteady: type[Unsteady], mill: Mill, finished: Build, s3: Any, tmp_path: Path
) -> None:
    if s3.strict:
        pytest.skip("this server checks the address that a request was signed for")
    unsteady.share, unsteady.refuses = 0.05, ("GET", "PUT", "POST", "HEAD", "DELETE")
    in_store.run("--quiet")
    assert unsteady.refused > 5
    build = s3.copy_of(f"{in_store.url}/build", tmp_path / "copy")
    assert mill.files(build / "dataset") == mill.files(finished.out / "dataset")


def test_a_store_that_may_not_be_written_is_told_at_once(in_store: InStore, unsteady: type[Unsteady], s3: Any) -> None:
    if s3.strict:
        pytest.skip("this server checks the address that a request was signed for")
    unsteady.share, unsteady.refuses, unsteady.status, unsteady.code = 1.0, ("PUT", "POST"), 403, "AccessDenied"
    done = in_store.mill.call(in_store.command("--quiet"))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"pairmill: {in_store.url}/build: cannot write pairmill-probe-" in done.stderr
    assert "access is denied" in done.stderr


@pytest.mark.slow
def test_a_store_that_breaks_off_in_the_middle_ends_the_run_with_a_line(
    in_store: InStore, unsteady: type[Unsteady], mill: Mill, served: Served, s3: Any
) -> None:
    if s3.strict:
        pytest.skip("this server checks the address that a request was signed for")
    served.delay_s = 0.2
    process = subprocess.Popen(in_store.command("--quiet"), stdout=-1, stderr=-1, text=True, start_new_session=True)
    assert mill.until(lambda: served.asked, process)
    unsteady.share, unsteady.refuses, unsteady.status, unsteady.code = 1.0, ("PUT", "POST"), 403, "AccessDenied"
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(told.strip().splitlines()) == 1
    assert "access is denied" in told
    unsteady.share = 0.0
    served.delay_s = 0.0
    in_store.run("--quiet")


def test_a_bucket_that_is_not_there_and_a_scheme_that_is_none(mill: Mill, fresh: Build, s3: Any) -> None:
    for url, told in (
        ("s3://no-such-bucket-here/x", "there is no bucket no-such-bucket-here; create it, or name another"),
        ("hdfs://host/x", "stores are s3://, gs://, or a folder that every worker has mounted"),
        ("s3://bucket", "name a folder in the bucket, such as s3://bucket/build"),
    ):
        command = [url if word == str(fresh.out) else word for word in mill.command(fresh, "--quiet")]
        done = mill.call(command)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
        assert told in done.stderr


@pytest.mark.slow
def test_a_small_disk_on_a_worker_is_told_with_its_folder(
    in_store: InStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk takes rights that are not here")
    try:
        monkeypatch.setenv("PAIRMILL_CACHE", str(disk))
        done = in_store.mill.call(in_store.command("--quiet", "--min-free", "0"))
        assert done.returncode == 1
        assert f"the cache folder {disk} on " in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        monkeypatch.setenv("PAIRMILL_CACHE", str(tmp_path / "larger"))
        in_store.run("--quiet")
    finally:
        subprocess.run(["umount", str(disk)], check=False)


DRIVER = """
import os, sys
from pairmill.runners import worker
start, count = worker.subprocess.Popen, iter(range(100))
def apart(command, env=None, **named):
    env = {**(env or os.environ), "PAIRMILL_CACHE": f"{os.environ['PAIRMILL_CACHE']}-{next(count)}"}
    return start(command, env=env, **named)
worker.subprocess.Popen = apart
from pairmill.runners.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_machines_share_nothing_but_the_store_and_any_other_tells_how_it_went(
    in_store: InStore, mill: Mill, finished: Build, s3: Any, tmp_path: Path
) -> None:
    """Each worker process has a cache folder of its own, as on machines of their own."""
    pairmill, *command = in_store.command("--workers", "2", "--quiet")
    done = mill.call([sys.executable, "-c", DRIVER, *command])
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("cache-*"))) >= 2
    copy = s3.copy_of(in_store.url, tmp_path / "copy")
    assert mill.files(copy / "build" / "dataset") == mill.files(finished.out / "dataset")
    assert json.loads((copy / "build" / "build.json").read_text())["work"] == f"{in_store.url}/work"
    secret = s3.environment["AWS_SECRET_ACCESS_KEY"].encode()
    assert not [path for path in copy.rglob("*") if path.is_file() and secret in path.read_bytes()]

    elsewhere = {**os.environ, "PAIRMILL_CACHE": str(tmp_path / "elsewhere")}

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([pairmill, *words], env=elsewhere, capture_output=True, text=True, check=False)

    told = ask("status", f"{in_store.url}/build")
    assert "120 rows" in told.stdout
    assert told.stdout.endswith("finished\n")
    out = tmp_path / "ledger.parquet"
    assert ask("ledger", f"{in_store.url}/build", "--to", str(out)).returncode == 0
    assert pl.read_parquet(out).height == 120
    told = ask("status", f"{in_store.url}/none")
    assert told.returncode == 2
    assert f"{in_store.url}/none is no build folder" in told.stderr
    assert not list((tmp_path / "elsewhere").glob("*/files"))


@pytest.mark.slow
def test_a_cluster_without_a_shared_folder_works_through_the_store(
    in_store: InStore, mill: Mill, finished: Build, job_service: str, s3: Any, tmp_path: Path
) -> None:
    """Beam's job service and a pool of workers, which knows the store by its own environment."""
    pairmill = in_store.command()[0]
    cache = str(tmp_path / "of-the-pool")
    with serving(tmp_path, pairmill, "worker-pool", "--port", "0", "--port-file", PAIRMILL_CACHE=cache) as pool:
        where = ["--runner", "portable", "--job-endpoint", job_service, "--worker-pool", pool]
        in_store.run(*where, "--workers", "2", "--quiet")
    build = s3.copy_of(f"{in_store.url}/build", tmp_path / "copy")
    assert mill.files(build / "dataset") == mill.files(finished.out / "dataset")
    assert mill.files(build / "ledger") == mill.files(finished.out / "ledger")
    assert not list((tmp_path / "copy").glob("parts*"))
