"""``pairmill run --runner portable`` against Beam's own local job service, with each way of having workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Build, Mill


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


@pytest.fixture
def beams_pool(mill: Mill) -> Iterator[str]:
    """Beam's own pool, which starts the first ``python`` in PATH."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env={**os.environ, "PATH": path}, stdout=quiet, stderr=quiet)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    assert mill.until(listens)
    yield f"localhost:{port}"
    process.terminate()
    process.wait()


def test_a_pool_of_beam_s_own_will_do(
    mill: Mill, fresh: Build, finished: Build, job_service: str, beams_pool: str
) -> None:
    mill.run(fresh, "--runner", "portable", "--job-endpoint", job_service, "--worker-pool", beams_pool)
    assert fresh.dataset() == finished.dataset()
