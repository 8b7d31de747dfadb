"""A Spark standalone cluster on this machine: a master, workers, and a pool of Beam workers beside them.

    python standalone_cluster.py FOLDER --spark SPARK_HOME --workers 2

``SPARK_HOME`` holds ``jars/`` (an unpacked distribution, or the folder ``pyspark`` of the package of that name, which
was installed with ``--no-deps --target``), of the version in pom.xml: job server and workers exchange Java objects.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

START_S = 180.0
#: What Spark's own scripts add for Java 17.
_OPENED = ("java.lang", "java.lang.invoke", "java.io", "java.net", "java.nio", "java.util", "sun.nio.ch")


@dataclass
class StandaloneCluster:
    """The processes of a cluster; ``folder`` holds their logs. Each worker has one core and ``memory_mib``."""

    folder: Path
    spark: Path
    workers: int = 2
    memory_mib: int = 1024
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def master(self) -> str:
        """What ``--spark-master`` takes."""
        return f"spark://127.0.0.1:{self._port}"

    @property
    def worker_pool(self) -> str:
        """What ``--worker-pool`` takes."""
        return f"localhost:{self._pool_port}"

    def start(self) -> None:
        """Start everything and wait until the master knows all workers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._port, self._pool_port = free_ports(2)
        master = ["--host", "127.0.0.1", "--port", str(self._port), "--webui-port", "0"]
        self._start_java("master", "org.apache.spark.deploy.master.Master", master)
        wait_until(lambda: "New state: ALIVE" in self.log("master"), "Spark's master")
        for number in range(self.workers):
            has = ["--host", "127.0.0.1", "--cores", "1", "--memory", f"{self.memory_mib}m", "--webui-port", "0"]
            has += ["--work-dir", str(self.folder / f"worker-{number}"), self.master]
            self._start_java(f"worker-{number}", "org.apache.spark.deploy.worker.Worker", has)
        pool = [sys.executable, "-m", "pairmill.runners.cli", "worker-pool", "--port", str(self._pool_port)]
        self._start("pool", pool, dict(os.environ))
        wait_until(lambda: self.log("master").count("Registering worker") == self.workers, "Spark's workers")
        wait_until(lambda: _listens(self._pool_port), "the worker pool")

    def log(self, name: str) -> str:
        """What a process has said so far: ``master``, ``worker-0``, ``pool``, …"""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End all processes, the executors of the workers too."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_java(self, name: str, main: str, arguments: list[str]) -> None:
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        command = ["java", "-Xmx256m", *opened, "-cp", f"{self.spark}/jars/*", main, *arguments]
        told = {"SPARK_HOME": str(self.spark), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_SCALA_VERSION": "2.12"}
        self._start(name, command, {**os.environ, **told})

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))


@contextmanager
def standalone_cluster(folder: Path, spark: Path, workers: int = 2) -> Iterator[StandaloneCluster]:
    """A cluster while the block lasts."""
    cluster = StandaloneCluster(folder, spark, workers)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens at now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Look again and again; raises TimeoutError that names what did not come."""
    end = time.monotonic() + START_S
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not start in {START_S:g} s; see the logs")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Start a cluster and keep it until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spark", type=Path, required=True, metavar="SPARK_HOME")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with standalone_cluster(arguments.folder, arguments.spark.resolve(), arguments.workers) as cluster:
        print(f"--runner spark --spark-master {cluster.master} --worker-pool {cluster.worker_pool}", flush=True)
        signal.sigwait([signal.SIGINT, signal.SIGTERM])


if __name__ == "__main__":
    main()
