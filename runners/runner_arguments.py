"""The options of ``pairmill run`` that say where it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pairmill.runners.runner_choice import RUNNERS, RunnerChoice
from pairmill.sharding.errors import UsageError


def add_runner_arguments(run: argparse.ArgumentParser) -> None:
    """Add them to the parser; ``choice_of`` reads them."""
    run.add_argument(
        "--workers", type=int, default=1, help="worker processes on this machine, or workers of a cluster (default: 1)"
    )
    where = run.add_argument_group("where it runs (docs/clusters.md); options of Beam may follow behind a --")
    where.add_argument("--runner", default="direct", help=f"{', '.join(RUNNERS)} (default: direct, on this machine)")
    where.add_argument("--flink-master", metavar="HOST:PORT", help="the REST address of Flink's job manager")
    where.add_argument("--spark-master", metavar="URL", help="the address of Spark's master, spark://HOST:PORT")
    where.add_argument("--job-endpoint", metavar="HOST:PORT", help="a Beam job service that is running")
    where.add_argument("--job-server-jar", metavar="FILE", help="Beam's job server (default: Beam downloads its own)")
    where.add_argument(
        "--worker-pool", metavar="HOST:PORT", help="worker pools, as the machines of the cluster see them"
    )
    where.add_argument("--environment-type", metavar="TYPE", help="how else workers are started: DOCKER, PROCESS, …")
    where.add_argument("--environment-config", metavar="CONFIG", help="the image, the command, …")
    where.add_argument("--accelerator", metavar="HINT", help="GPUs for the steps that load models (Dataflow)")
    where.add_argument(
        "--worker-timeout", type=float, metavar="SECONDS", help="how long the first worker may take to answer (50)"
    )
    run.set_defaults(beam_options=())


def add_worker_pool(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``worker-pool``."""
    pool = commands.add_parser("worker-pool", help="start the workers of a cluster on this machine (docs/clusters.md)")
    pool.add_argument("--host", default="[::]", help="the address to listen at (default: all of this machine's)")
    pool.add_argument("--port", type=int, default=50000, help="where the cluster asks for workers (default: 50000)")
    pool.add_argument("--port-file", type=Path, metavar="FILE", help="write the port there; for --port 0, a free one")
    pool.set_defaults(command=_worker_pool)


def _worker_pool(arguments: argparse.Namespace) -> int:
    from pairmill.runners.worker_pool import serve_workers

    return serve_workers(arguments.port, arguments.port_file, arguments.host)


def split_beam_options(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The command line of ``pairmill run`` up to a lone ``--``, and the options of Beam behind it."""
    if list(argv[:1]) != ["run"] or "--" not in argv:
        return list(argv), ()
    place = list(argv).index("--")
    return list(argv[:place]), tuple(argv[place + 1 :])


def choice_of(arguments: argparse.Namespace) -> RunnerChoice:
    """The runner that the options name; raises UsageError for options that do not go together."""
    kind, config = arguments.environment_type, arguments.environment_config
    if arguments.worker_pool is not None:
        if kind not in (None, "EXTERNAL") or config is not None:
            raise UsageError("--worker-pool and --environment-type or --environment-config: give one of them")
        kind, config = "EXTERNAL", arguments.worker_pool
    if config is not None and kind is None:
        raise UsageError("--environment-config: give --environment-type too")
    return RunnerChoice(
        name=arguments.runner,
        workers=arguments.workers,
        flink_master=arguments.flink_master,
        spark_master=arguments.spark_master,
        job_endpoint=arguments.job_endpoint,
        job_server_jar=arguments.job_server_jar,
        environment_type=kind,
        environment_config=config,
        worker_timeout_s=arguments.worker_timeout,
        accelerator=arguments.accelerator,
        beam_options=arguments.beam_options,
    )
