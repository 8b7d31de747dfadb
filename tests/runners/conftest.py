"""One small pool, drawn once and served from this process, and the real ``pairmill`` command run against it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest
from aiohttp import web

from pairmill.pipeline.demo import server as demo_server
from pairmill.pipeline.demo.pool import write_demo_pool
from pairmill.pipeline.work import LOCK_NAME

ROWS = 120
BLOCK_ROWS = 20
#: A run that takes longer hangs.
PATIENCE_S = 240.0
#: So long a service may take until it listens.
START_S = 60.0


@dataclass
class Served:
    """The pool behind a server that notes what it is asked, and can be slow."""

    pool: Path
    asked: list[str] = field(default_factory=list)
    delay_s: float = 0.0

    def rows(self) -> pl.DataFrame:
        return pl.read_parquet(self.pool).with_row_index("row")

    def paths_of(self, rows: list[int]) -> set[str]:
        """What the server is asked for when those rows are fetched."""
        parts = [urlsplit(url) for url in self.rows()["url"].gather(rows)]
        return {part.path + (f"?{part.query}" if part.query else "") for part in parts if part.port != 1}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    served = Served(folder / "pool.parquet")
    plain = demo_server._application

    def noted(root: Path) -> web.Application:
        @web.middleware
        async def note(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
            served.asked.append(request.raw_path)
            await asyncio.sleep(served.delay_s)
            answer: web.StreamResponse = await handler(request)
            return answer

        app = plain(root)
        app.middlewares.append(note)
        return app

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_server, "_application", noted)
        with demo_server.serve_folder(folder) as base_url:
            write_demo_pool(folder, base_url, rows=ROWS, seed=7)
            yield served


@pytest.fixture
def served(drawn: Served) -> Iterator[Served]:
    """The pool, served at full speed, with an empty list of requests."""
    drawn.asked.clear()
    drawn.delay_s = 0.0
    yield drawn
    drawn.delay_s = 0.0


@dataclass(frozen=True)
class Build:
    """A build folder and the work folder that it is made of."""

    out: Path
    work: Path

    def dataset(self) -> dict[str, str]:
        return files_of(self.out / "dataset")

    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "report.json").read_text()))

    def ledger(self) -> pl.DataFrame:
        return pl.concat([pl.read_parquet(path) for path in sorted((self.out / "ledger").glob("*.parquet"))])

    def fetched_rows(self) -> list[int]:
        """The pool rows whose images are committed (of a pool that is one segment of one file)."""
        files = sorted(self.work.glob("columns/fetch-*/*/*.parquet"))
        ids = [row for file in files for row in pl.read_parquet(file, columns=["row_id"])["row_id"]]
        return [(row >> 16) * BLOCK_ROWS + (row & 0xFFFF) for row in ids]

    def assert_all_accounted_for(self) -> None:
        report, ledger = self.report(), self.ledger()
        assert report["pool_rows"] == ledger.height == ROWS
        assert report["kept"] + sum(report["rejected"].values()) == ROWS
        assert ledger["kept"].sum() == report["kept"]
        samples = sum(pl.read_parquet(path).height for path in (self.out / "dataset" / "metadata").glob("*.parquet"))
        assert samples == report["kept"] > 0

    def assert_nothing_left_over(self) -> None:
        """Neither unfinished files of the dataset, nor files of the attempts, nor tars that nothing names."""
        assert not [path for folder in (self.out, self.work) for path in folder.rglob("*") if ".tmp-" in path.name]
        assert not (self.out / "parts").exists()
        columns = [pl.read_parquet(path, columns=["spool"]) for path in self.work.glob("columns/fetch-*/*/*.parquet")]
        named = set(pl.concat(columns)["spool"].drop_nulls())
        assert {path.name for path in self.work.glob("spool/*/*/*")} == {Path(name).name for name in named}


@dataclass(frozen=True)
class Mill:
    """Runs ``pairmill`` on the served pool."""

    pool: Path
    checks_space: bool = False

    def command(self, build: Build, *options: str, recipe: str | Path = "demo") -> list[str]:
        settings = {
            "fetch.allow_hosts": "[127.0.0.1]",
            "fetch.backoff_s": "0.02",
            "pool.block_rows": str(BLOCK_ROWS),
            "shards.samples_per_shard": "12",
        }
        if recipe == "demo":  # what these tests are about needs no model, which takes seconds to load
            settings |= {"scorers": "null", "words": "null", "rules": "[basic_filter]"}
        told = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        where = ["--out", str(build.out), "--work", str(build.work), "--pool", str(self.pool)]
        where += [] if self.checks_space else ["--no-space-check"]
        return [
            str(Path(sys.executable).with_name("pairmill")),
            "run",
            str(recipe),
            *where,
            *told,
            *options,
        ]

    def run(self, build: Build, *options: str, recipe: str | Path = "demo") -> str:
        """Run to the end, which must be a good one; returns stdout."""
        done = self.call(self.command(build, *options, recipe=recipe))
        assert (done.returncode, done.stderr.strip()) == (0, "")
        return done.stdout

    def refused(self, build: Build, *options: str, code: int, recipe: str | Path = "demo") -> str:
        """Run to a bad end, which must be told in one line; returns the line."""
        done = self.call(self.command(build, *options, recipe=recipe))
        lines = done.stderr.strip().splitlines()
        assert (done.returncode, len(lines), done.stdout) == (code, 1, ""), done.stderr
        assert lines[0].startswith("pairmill: ")
        return lines[0]

    def call(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    def start(self, build: Build, *options: str, recipe: str | Path = "demo") -> subprocess.Popen[str]:
        """Start in a process group of its own."""
        return subprocess.Popen(
            self.command(build, *options, recipe=recipe),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL for a run and its workers, at once."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def until(self, happened: Callable[[], object], process: subprocess.Popen[str] | None = None) -> bool:
        """Look again and again; False where the process ended before."""
        end = time.monotonic() + PATIENCE_S
        while not happened():
            if process is not None and process.poll() is not None:
                return bool(happened())
            assert time.monotonic() < end, "it never happened"
            time.sleep(0.002)
        return True

    def workers(self, process: subprocess.Popen[str]) -> list[int]:
        """The worker processes of a run, by id."""
        return [pid for pid in _children(process.pid) if b"pairmill.runners.worker" in _read(pid, "cmdline")]

    def is_alive(self, pid: int) -> bool:
        """Whether a process is there, and not only its entry."""
        return _read(pid, "stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])

    def files(self, *folders: Path) -> list[dict[str, str]]:
        """Everything below some folders, to compare with later."""
        return [files_of(folder) for folder in folders]


@pytest.fixture
def mill(served: Served) -> Mill:
    return Mill(served.pool)


@pytest.fixture(scope="session")
def finished(drawn: Served, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A build that nothing disturbed. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    drawn.delay_s = 0.0
    build = Build(folder / "build", folder / "work")
    Mill(drawn.pool).run(build)
    return build


@pytest.fixture
def copied(finished: Build, tmp_path: Path) -> Build:
    """The same, for a test to change."""
    build = Build(tmp_path / "build", tmp_path / "work")
    shutil.copytree(finished.out, build.out)
    shutil.copytree(finished.work, build.work)
    return build


@pytest.fixture
def fresh(tmp_path: Path) -> Build:
    """Two folders that are not there yet."""
    return Build(tmp_path / "build", tmp_path / "work")


@contextmanager
def serving(folder: Path, *command: str, **environment: str) -> Iterator[str]:
    """A process that writes its port to a file; yields its address."""
    told = folder / "port"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *(str(told),)], stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
        )
    end = time.monotonic() + START_S
    try:
        while not told.is_file():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield f"localhost:{told.read_text()}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def job_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Beam's local job service, as a process of its own."""
    module = "apache_beam.runners.portability.local_job_service_main"
    with serving(tmp_path_factory.mktemp("service"), sys.executable, "-m", module, "--port_file") as address:
        yield address


@pytest.fixture(scope="session")
def worker_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``pairmill worker-pool`` on a free port."""
    pairmill = str(Path(sys.executable).with_name("pairmill"))
    folder = tmp_path_factory.mktemp("pool")
    # No python in PATH: the pool starts its own.
    with serving(folder, pairmill, "worker-pool", "--port", "0", "--port-file", PATH="/nowhere") as address:
        yield address


def files_of(folder: Path) -> dict[str, str]:
    """Relative path → sha256 of every file below a folder, locks apart; folders end in a slash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name != LOCK_NAME:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.is_dir():
            found[f"{name}/"] = ""
    return found


def _children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        words = _read(int(folder.name), "stat").rpartition(b")")[2].split()
        if words[1:2] == [str(pid).encode()]:
            found.append(int(folder.name))
    return sorted(found)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
