"""``pairmill run --runner portable`` against Beam's own local job service, with each way of having workers."""

from __future__ import annotations

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
