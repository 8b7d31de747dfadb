"""``pairmill run --runner portable`` against Beam's own local job service, with each way of having workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Build, Mill

PATIENCE_S = 60.0


@contextmanager
def serving(folder: Path, *command: str, **environment: str) -> Iterator[str]:
    """A process that writes its port to a file; yields its address."""
    told = folder / "port"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *(str(told),)], stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
        )
    end = time.monotonic() + PATIENCE_S
    try:
        while not told.is_file():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield f"localhost:{told.read_text()}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def job_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Beam's local job service, as a process of its own."""
    module = "apache_beam.runners.portability.local_job_service_main"
    with serving(tmp_path_factory.mktemp("service"), sys.executable, "-m", module, "--port_file") as address:
        yield address


@pytest.fixture(scope="module")
def worker_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``pairmill worker-pool`` on a free port."""
    pairmill = str(Path(sys.executable).with_name("pairmill"))
    folder = tmp_path_factory.mktemp("pool")
    # No python in PATH: the pool starts its own.
    with serving(folder, pairmill, "worker-pool", "--port", "0", "--port-file", PATH="/nowhere") as address:
        yield address


@pytest.mark.parametrize("environment", ["LOOPBACK", "SUBPROCESS", "EXTERNAL"])
def test_the_portable_runner_changes_no_byte(
    environment: str, mill: Mill, fresh: Build, finished: Build, job_service: str, worker_pool: str
) -> None:
    where = ["--worker-pool", worker_pool] if environment == "EXTERNAL" else ["--environment-type", environment]
    told = mill.run(fresh, "--runner", "portable", "--job-endpoint", job_service, *where, "--workers", "2")
    assert "pairs kept" in " ".join(told.split())
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()
    assert fresh.dataset() == finished.dataset()
