"""Flink: Beam's job server turns the graph into a job of a running session cluster."""

from __future__ import annotations

import hashlib
import logging
import shutil
import socket
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pairmill.runners.flink_rest import Cluster, JobManager
from pairmill.runners.plain_error import is_plain
from pairmill.runners.portable import NO_ANSWER, JobFailed, check_job_service, portable_options
from pairmill.runners.quick_beam import quick_beam
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.transforms.job import Job

with quick_beam():
    from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions
    from apache_beam.runners.portability.flink_runner import FlinkJarJobServer, FlinkRunner
    from apache_beam.utils.subprocess_server import JavaJarServer
    from apache_beam.version import __version__ as BEAM

#: A file of Flink's own in every job server: it tells for which Flink the jar was made.
VERSION_FILE = ".flink-runtime.version.properties"
#: So long slots of a job that was cancelled may take to be free.
FREE_S = 20.0
#: So long a job may be unknown to a job manager that answers, and a job manager may not answer.
SILENT_S = 20.0
#: So long the cluster may have fewer slots than the job needs: a lost task manager is replaced, or it is not.
TOO_SMALL_S = 60.0
WATCH_S = 2.0
DOWNLOAD_S = 30.0


class _Flink(FlinkRunner):
    """Beam's runner, whose job server is ended by us: Beam's would end it at Ctrl-C, before the job is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self._server: FlinkJarJobServer | None = None

    def default_job_server(self, options: PipelineOptions) -> FlinkJarJobServer:
        flink = options.view_as(FlinkRunnerOptions)
        flink.flink_master = self.add_http_scheme(flink.flink_master)
        self._server = FlinkJarJobServer(options)
        return self._server

    def stop(self) -> None:
        """End the job server, if one was begun."""
        if self._server is not None:
            with suppress(Exception):  # it may never have begun
                self._server.stop()


@contextmanager
def flink_job(choice: RunnerChoice, job: Job) -> Iterator[tuple[FlinkRunner, PipelineOptions, Any]]:
    """Runner, options and a watch for one job of a session cluster; whatever ends the block early cancels the job.

    The watch is to be called every now and then, and raises when the cluster has lost the job. A job over the same work
    folder that an earlier run left behind is cancelled first: this run holds the folder's lock. Raises PairmillError or
    UsageError before anything is submitted: no job manager, no job server for its version, too few slots.
    """
    if choice.flink_master is None:
        assert choice.job_endpoint is not None
        check_job_service("--job-endpoint", choice.job_endpoint)
        yield FlinkRunner(), PipelineOptions([*portable_options(choice), *choice.beam_options]), lambda: None
        return
    # It warns of every download, and of beginning and ending a job server.
    logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.CRITICAL)
    manager, name = JobManager(choice.flink_master), job_name(job)
    cluster = manager.cluster()
    jar = _job_server(choice, cluster)
    manager.cancel(name)
    cluster = _with_free_slots(manager, choice.workers)
    options = [
        *portable_options(choice),
        f"--flink_master={choice.flink_master}",
        f"--flink_version={cluster.release}",
        f"--parallelism={choice.workers}",
        # A worker process for each slot: Beam's default is one for a task manager, however many cores that has.
        f"--sdk_worker_parallelism={cluster.slots_per_task_manager}",
        f"--job_name={name}",
        *_java(jar),
    ]
    runner = _Flink()
    try:
        yield runner, PipelineOptions([*options, *choice.beam_options]), _Watch(manager, name, choice.workers)
    except BaseException as error:
        with suppress(PairmillError):
            manager.cancel(name)
        if isinstance(error, PairmillError):
            raise _told_by_flink(error) from error
        raise
    finally:
        runner.stop()


class _Watch:
    """Raises PairmillError when the job manager is gone or lost the job, and when the cluster stays too small for it.

    Flink and Beam's job server wait long for either.
    """

    def __init__(self, manager: JobManager, name: str, slots: int) -> None:
        self._manager, self._name, self._slots = manager, name, slots
        self._begun = False
        self._asked = self._seen = self._enough = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._asked + WATCH_S:
            return
        self._asked = now
        why, slots = "has no such job any more (was it restarted?)", self._slots
        try:
            alive = bool(self._manager.jobs(self._name))
            if alive:
                slots = self._manager.cluster().slots
        except PairmillError:
            alive, why = False, "does not answer any more"
        now = time.monotonic()
        if alive or not self._begun:
            self._begun = self._begun or alive
            self._seen = now
        if slots >= self._slots:
            self._enough = now
        if now > self._seen + SILENT_S:
            self._raise(f"{why}; run the same command again when it is back")
        if now > self._enough + TOO_SMALL_S:
            lost = f"has {slots} slots left, the job needs {self._slots}"
            self._raise(f"{lost}; run the same command again when its task managers are back, or with fewer --workers")

    def _raise(self, told: str) -> None:
        raise PairmillError(f"the job manager at {self._manager.address} {told}: finished blocks are kept")


def _told_by_flink(error: PairmillError) -> PairmillError:
    """The error with which a run ended; of what no step raised, but Flink, what it says."""
    said = str(error.__cause__) if isinstance(error.__cause__, JobFailed) else ""
    told_already = "Error received from SDK harness" in said or is_plain(said) or NO_ANSWER in str(error)
    if not said or told_already:
        return error
    why = said.strip().partition("\n")[0].rstrip(".")
    return PairmillError(f"Flink gave the job up ({why}); run the same command again: finished blocks are kept")


def job_name(job: Job) -> str:
    """The name in Flink of a job; its end tells the work folder, by which a run finds what another left there."""
    work = job.pool_store.work
    return f"pairmill-{Path(job.build).name}-{hashlib.sha256(work.encode()).hexdigest()[:12]}"


def _job_server(choice: RunnerChoice, cluster: Cluster) -> str:
    """The jar of a job server for the cluster's Flink."""
    known = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    where = f"--flink-master {choice.flink_master}"
    if cluster.release not in known:
        raise UsageError(f"{where}: it runs Flink {cluster.version}; Beam {BEAM} works with {', '.join(known)}")
    if shutil.which("java") is None:
        raise UsageError(
            "Java is not here, which Beam's job server needs (Debian: apt-get install default-jre-headless)"
        )
    if choice.job_server_jar is not None:
        made_for = _flink_of(Path(choice.job_server_jar))
        if made_for and made_for != cluster.release:
            told = f"is for Flink {made_for}, and {where} runs {cluster.version}"
            raise UsageError(f"--job-server-jar {choice.job_server_jar} {told}: give the one of its version")
        return choice.job_server_jar
    return _downloaded(cluster.release)


def _flink_of(jar: Path) -> str:
    """The Flink release that a job server was made for; empty where the jar does not tell."""
    try:
        with zipfile.ZipFile(jar) as file:
            told = file.read(VERSION_FILE).decode() if VERSION_FILE in file.namelist() else ""
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"--job-server-jar {jar}: it cannot be read as a jar ({error})") from error
    lines = (line.partition("=") for line in told.splitlines())
    version = next((value.strip() for key, _, value in lines if key.strip() == "project.version"), "")
    return ".".join(version.split(".")[:2])


def _downloaded(release: str) -> str:
    """Beam's own job server of its own version, from Beam's cache or from Maven Central."""
    url = JavaJarServer.path_to_beam_jar(f":runners:flink:{release}:job-server:shadowJar")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_S)
    try:
        return str(JavaJarServer.local_jar(url))
    except Exception as error:
        raise PairmillError(
            f"Beam's job server for Flink {release} cannot be had ({url.rpartition('/')[2]}): give a file of it with "
            "--job-server-jar (docs/clusters.md tells how to get or to make one)"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _with_free_slots(manager: JobManager, wanted: int) -> Cluster:
    """The cluster once it has slots enough. Flink itself waits five minutes for them."""
    end = time.monotonic() + FREE_S
    while True:
        cluster = manager.cluster()
        if cluster.slots < wanted:
            raise PairmillError(
                f"--flink-master {manager.address}: the cluster has {cluster.slots} slots, --workers {wanted} asks for "
                "more; add task managers, or ask for fewer workers"
            )
        if cluster.slots_free >= wanted:
            return cluster
        if time.monotonic() > end:
            raise PairmillError(
                f"--flink-master {manager.address}: {cluster.slots_free} of {cluster.slots} slots are free, "
                f"--workers {wanted} asks for more; wait for the other jobs, or ask for fewer workers"
            )
        time.sleep(1.0)


def _java(jar: str) -> list[str]:
    """How Beam begins the job server: so that it ends with this process, in little memory (it holds no data)."""
    words = ("-m", "pairmill.runners.with_parent", "java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    properties = [f"--job_server_jvm_properties={word}" for word in words]
    return [f"--flink_job_server_jar={jar}", f"--job_server_java_launcher={sys.executable}", *properties]
