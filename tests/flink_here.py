"""A real Flink session cluster for tests: two task managers, each with a pool of workers beside it."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: What `make .flink/.ready` made: Flink's jars, and Beam's job server for that Flink.
FLINK = ROOT / ".flink"
HOME = FLINK / "packages" / "pyflink"
JAR = FLINK / "job-server.jar"
TASK_MANAGERS = 2


def missing() -> str:
    """What a cluster lacks here; empty where all is there."""
    if shutil.which("java") is None:
        return "java is not on this machine (Debian: apt-get install default-jre-headless)"
    if not (HOME / "lib").is_dir():
        return "Flink's jars are not in .flink (make .flink/.ready)"
    return "" if JAR.is_file() else "Beam's job server for Flink is not in .flink (make .flink/.ready)"


def of_example(name: str) -> Any:
    """A module of examples/flink."""
    folder = str(ROOT / "examples" / "flink")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


@dataclass
class FlinkHere:
    """A cluster and what tests do with it."""

    cluster: Any
    task_managers: int = TASK_MANAGERS

    def options(self, workers: int = TASK_MANAGERS) -> list[str]:
        """The options of ``pairmill run`` for it."""
        where = ["--runner", "flink", "--flink-master", self.cluster.master, "--worker-pool", self.cluster.worker_pool]
        return [*where, "--job-server-jar", str(JAR), "--workers", str(workers)]

    def kill(self, name: str) -> None:
        """SIGKILL: ``job-manager``, ``task-manager-0``, ``pool-1``, …"""
        self.cluster.kill(name)

    def pool(self, number: int) -> Any:
        """The process of a task manager's worker pool."""
        return self.cluster.processes[f"pool-{number}"]

    def mend(self) -> None:
        """Start again what a test has killed, and wait until all can be used."""
        cluster = self.cluster
        for name in [name for name, process in cluster.processes.items() if process.poll() is not None]:
            del cluster.processes[name]
        if "job-manager" in cluster.processes:  # it still counts the slots of those that it believes alive
            living = sum(name.startswith("task-manager") for name in cluster.processes)
            cluster.wait_for_task_managers(living)
        if "job-manager" not in cluster.processes:
            cluster.start_job_manager()
        for number in range(TASK_MANAGERS):
            if f"pool-{number}" not in cluster.processes:
                cluster.start_pool(number)
            if f"task-manager-{number}" not in cluster.processes:
                cluster.start_task_manager(number)
        cluster.wait_for_slots(TASK_MANAGERS)

    def jobs(self, *states: str) -> list[str]:
        """The ids of its jobs in some states."""
        return [job["jid"] for job in self.cluster.asked("/jobs/overview")["jobs"] if job["state"] in states]

    def task_managers_of(self, job: str) -> set[str]:
        """The task managers that had a part of a job."""
        vertices = self.cluster.asked(f"/jobs/{job}")["vertices"]
        details = [self.cluster.asked(f"/jobs/{job}/vertices/{vertex['id']}") for vertex in vertices]
        return {task["taskmanager-id"] for detail in details for task in detail["subtasks"]}


def started(folder: Path) -> Iterator[FlinkHere]:
    """A cluster while the fixture that uses this lives; its logs stay in ``folder``."""
    if why := missing():
        pytest.skip(why)
    with of_example("session_cluster").session_cluster(folder, HOME, TASK_MANAGERS) as cluster:
        yield FlinkHere(cluster)
