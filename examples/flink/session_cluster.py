"""A Flink session cluster on this machine: a job manager, and task managers with a pool of Beam workers each.

    python session_cluster.py FOLDER --flink FLINK_HOME --task-managers 2

``FLINK_HOME`` holds ``lib/`` with Flink's jars (an unpacked distribution, or ``apache-flink-libraries`` installed with
``--no-deps --target``, in it ``pyflink``). It is what a Kubernetes deployment has: the workers of a task manager are in
a pool beside it, and every task manager finds its own pool under one and the same name. Here each of these Java
processes has a hosts file of its own (``jdk.net.hosts.file``), in which that name is another loopback address.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: The name under which each task manager finds the pool beside it.
POOL_NAME = "worker-pool"
START_S = 60.0
#: What Flink's own scripts add for Java 17.
_OPENED = (
    "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.reflect", "java.base/java.math",
    "java.base/java.net", "java.base/java.io", "java.base/java.nio", "java.base/java.text", "java.base/java.time",
    "java.base/java.util", "java.base/java.util.concurrent", "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks", "java.base/sun.net.util", "java.base/sun.nio.ch",
)  # fmt: skip
_LOG = """
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = Out
appender.out.name = Out
appender.out.type = CONSOLE
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss,SSS} %-5p %-40c{1} - %m%n
"""


@dataclass(frozen=True)
class ClusterMemory:
    """Bounds of the Java processes in MiB: the job manager's heap, then those of each task manager."""

    job_manager_heap: int = 512
    heap: int = 384
    network: int = 64
    managed: int = 64
    metaspace: int = 384


@dataclass
class SessionCluster:
    """The processes of a cluster. ``rest_port`` is the job manager's; ``folder`` holds configuration and logs.

    ``restarts``: how often Flink begins a job's tasks again before it gives the job up.
    """

    folder: Path
    flink: Path
    task_managers: int = 2
    slots: int = 1
    restarts: int = 3
    memory: ClusterMemory = field(default_factory=ClusterMemory)
    rest_port: int = 0
    pool_port: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def master(self) -> str:
        """What ``--flink-master`` takes."""
        return f"127.0.0.1:{self.rest_port}"

    @property
    def worker_pool(self) -> str:
        """What ``--worker-pool`` takes: each task manager finds its own pool there."""
        return f"{POOL_NAME}:{self.pool_port}"

    def start(self) -> None:
        """Start everything and wait until all task managers are known to the job manager."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rest_port, self._rpc_port, self._blob_port, self.pool_port = free_ports(4)
        (self.folder / "flink-conf.yaml").write_text("", encoding="utf-8")
        (self.folder / "log4j.properties").write_text(_LOG, encoding="utf-8")
        self.start_job_manager()
        for number in range(self.task_managers):
            self.start_pool(number)
            self.start_task_manager(number)
        self.wait_for_slots(self.task_managers * self.slots)

    def start_job_manager(self) -> None:
        """Start the job manager, again at the same ports if it was killed."""
        main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        settings = {
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self.rest_port,
            "jobmanager.bind-host": "127.0.0.1",
            "blob.server.port": self._blob_port,
            "web.submit.enable": "false",
        }
        java = [f"-Xmx{self.memory.job_manager_heap}m", *self._java_bounds()]
        self._start_java("job-manager", java, main, settings, ["--executionMode", "cluster"])

    def start_task_manager(self, number: int) -> None:
        """Start a task manager, which looks for the pool of its own number."""
        name = f"task-manager-{number}"
        hosts = self.folder / f"{name}.hosts"
        names = {"localhost": "127.0.0.1", POOL_NAME: pool_host(number), socket.gethostname(): "127.0.0.1"}
        hosts.write_text("".join(f"{address} {host}\n" for host, address in names.items()), encoding="utf-8")
        memory = self.memory
        settings = {
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.resource-id": f"{name}-{os.getpid()}-{time.monotonic_ns()}",
            "taskmanager.numberOfTaskSlots": self.slots,
            # A script of Flink's distribution would work these out; together they are the bounds of the process.
            "taskmanager.cpu.cores": self.slots,
            "taskmanager.memory.task.heap.size": f"{memory.heap - 128}m",
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.task.off-heap.size": "0m",
            "taskmanager.memory.framework.off-heap.size": "64m",
            "taskmanager.memory.network.min": f"{memory.network}m",
            "taskmanager.memory.network.max": f"{memory.network}m",
            "taskmanager.memory.managed.size": f"{memory.managed}m",
            "taskmanager.memory.jvm-metaspace.size": f"{memory.metaspace}m",
            "taskmanager.memory.jvm-overhead.min": "64m",
            "taskmanager.memory.jvm-overhead.max": "64m",
        }
        # Beam's data channels between Java and the workers live in direct memory too.
        java = [f"-Xmx{memory.heap}m", f"-XX:MaxDirectMemorySize={memory.network + 192}m", *self._java_bounds()]
        java.append(f"-Djdk.net.hosts.file={hosts}")
        self._start_java(name, java, "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", settings, [])

    def start_pool(self, number: int) -> None:
        """Start the pool of a task manager, again at the same address if it was killed."""
        address = f"{pool_host(number)}:{self.pool_port}"
        command = [sys.executable, "-m", "pairmill.runners.cli", "worker-pool", "--host", pool_host(number)]
        self._start(f"pool-{number}", [*command, "--port", str(self.pool_port)])
        _wait_until(lambda: _listens(address), f"the worker pool at {address}")

    def kill(self, name: str) -> None:
        """SIGKILL: ``job-manager``, ``task-manager-0``, ``pool-1``, …"""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    def asked(self, path: str) -> Any:
        """What the job manager's REST service answers to a GET."""
        with urllib.request.urlopen(f"http://{self.master}{path}", timeout=10) as answer:
            return json.load(answer)

    def wait_for_slots(self, slots: int) -> None:
        """Wait until the job manager knows of so many slots; raises RuntimeError where that fails."""

        def known() -> bool:
            try:
                return int(self.asked("/overview")["slots-total"]) >= slots
            except (OSError, urllib.error.URLError, ValueError):
                return False

        _wait_until(known, f"{slots} slots of the cluster (see the logs in {self.folder})", self._raise_of_dead)

    def wait_for_task_managers(self, most: int) -> None:
        """Wait until the job manager knows of no more than so many, having seen that others are gone."""

        def gone() -> bool:
            try:
                return len(self.asked("/taskmanagers")["taskmanagers"]) <= most
            except (OSError, ValueError):
                return False

        _wait_until(gone, f"the loss of a task manager (see the logs in {self.folder})", self._raise_of_dead)

    def log(self, name: str) -> str:
        """What a process has said so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _raise_of_dead(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}")

    def _java_bounds(self) -> list[str]:
        # Little is computed in Java: a second compiler costs more than it gains.
        return [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-XX:MaxMetaspaceSize={self.memory.metaspace}m",
            "-XX:ReservedCodeCacheSize=64m",
        ]

    def _start_java(
        self, name: str, java: list[str], main: str, settings: dict[str, object], arguments: list[str]
    ) -> None:
        common: dict[str, object] = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": self._rpc_port,
            "io.tmp.dirs": self.folder / "tmp" / name,
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 10000,
            "restart-strategy.type": "fixed-delay" if self.restarts else "none",
            "restart-strategy.fixed-delay.attempts": self.restarts,
            "parallelism.default": self.task_managers * self.slots,
            "classloader.check-leaked-classloader": "false",
        }
        (self.folder / "tmp" / name).mkdir(parents=True, exist_ok=True)
        classes = ":".join(str(jar) for jar in sorted((self.flink / "lib").glob("*.jar")))
        command = ["java", *java, f"-Dlog4j.configurationFile={self.folder / 'log4j.properties'}"]
        command += [f"--add-opens={module}=ALL-UNNAMED" for module in _OPENED]
        command += ["-cp", classes, main, "--configDir", str(self.folder), *arguments]
        command += [f"-D{key}={value}" for key, value in (common | settings).items()]
        self._start(name, command)

    def _start(self, name: str, command: Sequence[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def pool_host(number: int) -> str:
    """The loopback address of a task manager's pool."""
    return f"127.0.1.{number + 1}"


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


def _wait_until(true: Any, what: str, check: Any = lambda: None) -> None:
    deadline = time.monotonic() + START_S
    while not true():
        check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {START_S:.0f} s in vain for {what}")
        time.sleep(0.2)


@contextmanager
def session_cluster(folder: Path, flink: Path, task_managers: int = 2, slots: int = 1) -> Iterator[SessionCluster]:
    """A cluster for the block."""
    cluster = SessionCluster(folder, flink, task_managers, slots)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Start a cluster and keep it until Ctrl-C, or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for configuration, logs and temporary files")
    parser.add_argument("--flink", type=Path, required=True, metavar="FLINK_HOME")
    parser.add_argument("--task-managers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=1, help="slots of each task manager, a worker process each")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have told the program to pass over the first
        signal.signal(number, _stop)
    with session_cluster(asked.folder, asked.flink, asked.task_managers, asked.slots) as cluster:
        print(f"pairmill run … --runner flink --flink-master {cluster.master} --worker-pool {cluster.worker_pool}")
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
