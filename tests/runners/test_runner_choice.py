"""The options that say where a run goes: what is refused, with which words, before any work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pairmill.runners.cli import main
from pairmill.runners.runner_choice import LANES_PER_WORKER, RunnerChoice
from pairmill.sharding.errors import UsageError


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"name": "dask"}, "--runner dask is refused: .* loses rows silently"),
        ({"name": "DaskRunner"}, "--runner DaskRunner is refused: .* loses rows"),
        ({"name": "ray"}, "--runner ray is refused"),
        ({"name": "PrismRunner"}, "--runner PrismRunner is refused: .* --runner direct"),
        ({"name": "DirectRunner"}, "--runner DirectRunner is refused: .* --runner direct is Beam's FnApiRunner"),
        ({"name": "samza"}, "--runner samza: it is not known; accepted: direct, flink, spark"),
        ({"workers": 0}, "--workers 0: give at least 1"),
        ({"name": "portable"}, "--job-endpoint HOST:PORT"),
        ({"name": "flink"}, "--flink-master HOST:PORT"),
        ({"name": "spark"}, "--spark-master spark://HOST:PORT"),
        ({"name": "flink", "flink_master": "nowhere"}, "--flink-master nowhere: give HOST:PORT"),
        ({"name": "portable", "job_endpoint": "http://host:1"}, "--job-endpoint http://host:1: give HOST:PORT"),
        ({"name": "spark", "spark_master": "yarn"}, "--spark-master yarn: give spark://HOST:PORT"),
        ({"flink_master": "host:1"}, "--flink-master host:1: it is for --runner flink, this is direct"),
        ({"job_server_jar": "x.jar"}, "--job-server-jar: it is for"),
        ({"name": "flink", "flink_master": "host:1"}, "--runner flink: say where the workers are"),
        ({"environment_type": "LOOPBACK"}, "are for a cluster; give --runner too"),
        ({"beam_options": ("--parallelism=2",)}, "are for a cluster"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(named: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        RunnerChoice(**named)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "config", "told"),
    [
        ("external", "host:1", "--environment-type external: it is not known; accepted: EXTERNAL"),
        ("EXTERNAL", "host", "--worker-pool host: give HOST:PORT"),
        ("EXTERNAL", None, "--worker-pool : give HOST:PORT"),
        ("DOCKER", None, "name an image"),
        ("PROCESS", None, "that has a command"),
    ],
)
def test_an_environment_is_whole(kind: str, config: str | None, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        RunnerChoice("portable", job_endpoint="host:1", environment_type=kind, environment_config=config)


def test_options_of_beam_name_no_other_runner() -> None:
    with pytest.raises(UsageError, match="name the runner to pairmill"):
        RunnerChoice(
            "portable", job_endpoint="h:1", environment_type="LOOPBACK", beam_options=("--runner=DirectRunner",)
        )


def test_flink_gets_more_lanes_than_workers() -> None:
    cluster = RunnerChoice("flink", workers=3, flink_master="host:1", environment_type="LOOPBACK")
    assert (RunnerChoice(workers=3).lanes, cluster.lanes) == (3, 3 * LANES_PER_WORKER)
    assert (RunnerChoice().is_cluster, cluster.is_cluster) == (False, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--runner", "dask"], "loses rows silently"),
        (["--runner", "portable", "--job-endpoint", "h:1", "--environment-config", "x"], "give --environment-type too"),
        (["--runner", "portable", "--worker-pool", "h:1", "--environment-type", "DOCKER"], "give one of them"),
        (["--", "--parallelism=2"], "give --runner too"),
    ],
)
def test_the_command_says_so_and_writes_nothing(
    options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "demo", "--out", str(tmp_path / "build"), *options]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
