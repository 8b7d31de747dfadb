"""Which of Beam's runners a run is handed to, and where its workers are. No Beam is imported to say so."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pairmill.sharding.errors import UsageError

RUNNERS = ("direct", "flink", "spark", "dataflow", "portable")
#: How the workers of a cluster are started. SUBPROCESS: by the job service, as processes of its own machine.
ENVIRONMENTS = ("EXTERNAL", "DOCKER", "PROCESS", "SUBPROCESS", "LOOPBACK")
#: Flink gets more lanes than workers, so that a slow lane keeps few of them waiting. It runs as many at once as it was
#: told; of others that is unknown, and hosts are asked by no more lanes at once than their limits were cut for.
LANES_PER_WORKER = 4
#: Workers of a session cluster answer in seconds; Dataflow starts machines and pulls images.
WORKER_S = 50.0
DATAFLOW_WORKER_S = 1800.0
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}")
_REFUSED = {
    "dask": "Beam's Dask runner loses rows silently: the last batch of a step, and all but one of several outputs",
    "ray": "Ray's Beam runner is no longer released, and loses rows when memory runs out",
    "prism": "it keeps everything in memory and is no cluster; --runner direct runs on this machine",
    "directrunner": "it picks one of three runners by itself; --runner direct is Beam's FnApiRunner, named",
    "fnapi": "say --runner direct, which is Beam's FnApiRunner",
    "interactive": "it is for notebooks; say --runner direct",
}


@dataclass(frozen=True)
class RunnerChoice:
    """A runner, its address and its workers' environment; raises UsageError, one line, for what cannot work.

    ``workers``: processes on this machine (direct), or the parallelism that a cluster is asked for.
    ``job_server_jar``: Beam's job server for Flink or Spark, if not the one that Beam downloads. ``beam_options`` are
    handed to Beam as they are, behind ours. ``environment_config``: the address of a worker pool (EXTERNAL), an image
    (DOCKER), a command. ``worker_timeout_s``: how long the first worker may take to answer once the job is submitted.
    ``accelerator``: Beam's resource hint for the steps that load models.
    """

    name: str = "direct"
    workers: int = 1
    flink_master: str | None = None
    spark_master: str | None = None
    job_endpoint: str | None = None
    job_server_jar: str | None = None
    environment_type: str | None = None
    environment_config: str | None = None
    worker_timeout_s: float | None = None
    accelerator: str | None = None
    beam_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"--workers {self.workers}: give at least 1")
        if self.worker_timeout_s is not None and not self.worker_timeout_s > 0:
            raise UsageError(f"--worker-timeout {self.worker_timeout_s}: give seconds above 0")
        _check_name(self.name)
        if self.accelerator is not None and self.name != "dataflow":
            raise UsageError(
                f"--accelerator {self.accelerator}: only Dataflow places steps by it; run --steps score as a job of "
                "its own on machines with GPUs (docs/clusters.md)"
            )
        self._check_addresses()
        self._check_environment()
        for option in self.beam_options:
            if option.split("=")[0] in ("--runner", "-r"):
                raise UsageError(f"{option}: name the runner to pairmill, before the --")

    @property
    def is_cluster(self) -> bool:
        """Whether the work is handed to a job service, and may run on other machines."""
        return self.name != "direct"

    @property
    def model_hints(self) -> dict[str, str]:
        """Beam's resource hints for the steps that load models."""
        return {"accelerator": self.accelerator} if self.accelerator else {}

    @property
    def patience_s(self) -> float:
        """How long the first worker may take to answer."""
        if self.worker_timeout_s is not None:
            return self.worker_timeout_s
        return DATAFLOW_WORKER_S if self.name == "dataflow" else WORKER_S

    @property
    def lanes(self) -> int:
        """Into how many lanes the pool is cut."""
        return self.workers * LANES_PER_WORKER if self.name == "flink" else self.workers

    def _check_addresses(self) -> None:
        owners = {
            "--flink-master": (self.flink_master, ("flink",)),
            "--spark-master": (self.spark_master, ("spark",)),
            "--job-endpoint": (self.job_endpoint, ("portable", "flink", "spark")),
        }
        for option, (value, runners) in owners.items():
            if value is not None and self.name not in runners:
                raise UsageError(f"{option} {value}: it is for --runner {' or '.join(runners)}, this is {self.name}")
        if self.job_server_jar is not None and self.name not in ("flink", "spark"):
            raise UsageError(f"--job-server-jar: it is for --runner flink or spark, this is {self.name}")
        if self.name == "portable" and self.job_endpoint is None:
            raise UsageError("--runner portable: say where the job service is: --job-endpoint HOST:PORT")
        if self.name == "flink" and self.flink_master is None and self.job_endpoint is None:
            raise UsageError("--runner flink: say where its job manager is: --flink-master HOST:PORT")
        if self.name == "spark" and self.spark_master is None and self.job_endpoint is None:
            raise UsageError("--runner spark: say where its master is: --spark-master spark://HOST:PORT")
        for option, address in (
            ("--job-endpoint", self.job_endpoint),
            ("--flink-master", re.sub("^https?://", "", self.flink_master) if self.flink_master else None),
        ):
            if address is not None and not _ADDRESS.fullmatch(address):
                raise UsageError(f"{option} {address}: give HOST:PORT")
        if self.spark_master is not None and not re.fullmatch(r"local(\[.+\])?|spark://\S+:\d+\S*", self.spark_master):
            raise UsageError(f"--spark-master {self.spark_master}: give spark://HOST:PORT")

    def _check_environment(self) -> None:
        kind, config = self.environment_type, self.environment_config
        if self.name == "direct" and (kind, config, self.beam_options) != (None, None, ()):
            raise UsageError("a worker pool, an environment and options of Beam are for a cluster; give --runner too")
        if self.name in ("flink", "spark", "portable") and kind is None:
            raise UsageError(
                f"--runner {self.name}: say where the workers are: --worker-pool HOST:PORT, or --environment-type "
                "DOCKER --environment-config IMAGE (docs/clusters.md)"
            )
        if kind is None or kind.startswith("beam:env:"):
            return
        if kind not in ENVIRONMENTS:
            raise UsageError(f"--environment-type {kind}: it is not known; accepted: {', '.join(ENVIRONMENTS)}")
        if kind == "EXTERNAL" and not (config and (config.startswith("{") or _ADDRESS.fullmatch(config))):
            raise UsageError(f"--worker-pool {config or ''}: give HOST:PORT, as the workers' machines see it")
        if kind == "DOCKER" and not config:
            raise UsageError("--environment-type DOCKER: name an image with pairmill in it: --environment-config IMAGE")
        if kind == "PROCESS" and not config:
            raise UsageError(
                "--environment-type PROCESS: give --environment-config with Beam's JSON that has a command"
            )


def _check_name(name: str) -> None:
    if name in RUNNERS:
        return
    plain = name.lower()
    why = _REFUSED.get(plain) or _REFUSED.get(plain.removesuffix("runner"))
    if why is not None:
        raise UsageError(f"--runner {name} is refused: {why}")
    raise UsageError(f"--runner {name}: it is not known; accepted: {', '.join(RUNNERS)}")
