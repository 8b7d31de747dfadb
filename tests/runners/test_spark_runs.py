"""``pairmill run --runner spark`` on a real standalone cluster: a master, two workers, a pool."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pairmill.runners.runner_choice import RunnerChoice
from pairmill.runners.spark import spark_options

if TYPE_CHECKING:
    from conftest import Build, Mill

ROOT = Path(__file__).resolve().parents[2]
#: What `make .spark/.ready` made: Spark's jars, and Beam's job server for that Spark.
SPARK = ROOT / ".spark"
HOME, JAR = SPARK / "packages" / "pyspark", SPARK / "job-server.jar"
#: The default, 1 GiB, is all that a worker here has.
MEMORY = "--job_server_jvm_properties=-Dspark.executor.memory=512m"
#: Java starts slowly where much else runs.
PATIENT = ["--worker-timeout", "200"]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clusters")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if shutil.which("java") is None:
        pytest.skip("java is not on this machine (Debian: apt-get install default-jre-headless)")
    if not (HOME / "jars").is_dir() or not JAR.is_file():
        pytest.skip("Spark's jars, or Beam's job server for Spark, are not in .spark (make .spark/.ready)")
    path = ROOT / "examples" / "spark" / "standalone_cluster.py"
    spec = importlib.util.spec_from_file_location("standalone_cluster", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.standalone_cluster(tmp_path_factory.mktemp("spark"), HOME) as started:
        yield started


def test_spark_changes_no_byte(mill: Mill, fresh: Build, finished: Build, cluster: Any) -> None:
    where = ["--runner", "spark", "--spark-master", cluster.master, "--worker-pool", cluster.worker_pool]
    told = mill.run(fresh, *where, "--job-server-jar", str(JAR), "--workers", "2", *PATIENT, "--", MEMORY)
    assert "pairs kept" in " ".join(told.split())
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()
    assert fresh.dataset() == finished.dataset()
    # Both workers had a part of it.
    assert all("Asked to launch executor" in cluster.log(f"worker-{number}") for number in range(2))


def test_a_master_that_is_not_there(mill: Mill, fresh: Build) -> None:
    where = ["--runner", "spark", "--spark-master", "spark://localhost:1", "--worker-pool", "localhost:1"]
    told = mill.refused(fresh, *where, code=1)
    assert told.startswith("pairmill: --spark-master localhost:1: nothing answers there (Connection refused)")


def test_a_worker_for_every_core_of_an_executor() -> None:
    told = {"spark_master": "spark://h:1", "environment_type": "LOOPBACK"}
    options = spark_options(RunnerChoice("spark", workers=6, **told))
    assert "--sdk_worker_parallelism=1" in options
    assert "--job_server_jvm_properties=-Dspark.cores.max=6" in options
    said = ("--job_server_jvm_properties=-Dspark.executor.cores=4", "--environment_cache_millis=0")
    options = spark_options(RunnerChoice("spark", workers=8, beam_options=said, **told))
    assert "--sdk_worker_parallelism=4" in options
    assert options[-2:] == list(said)
