"""Spark: Beam's job server turns the graph into a job of a running standalone cluster."""

from __future__ import annotations

import logging
import re

from pairmill.runners.portable import check_job_service, check_reachable, portable_options
from pairmill.runners.quick_beam import quick_beam
from pairmill.runners.runner_choice import RunnerChoice

with quick_beam():
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.spark_runner import SparkRunner
    from apache_beam.runners.runner import PipelineRunner


#: Between two stages nothing is left to do for a worker; without this, Spark has a new one started for each stage.
WORKERS_STAY_MS = 600_000


def spark_runner(choice: RunnerChoice) -> tuple[PipelineRunner, PipelineOptions]:
    """The runner and options for a master. Raises PairmillError where nothing answers at its address."""
    options = spark_options(choice)
    if choice.spark_master is not None:
        found = re.fullmatch(r"spark://([^,/]+)\S*", choice.spark_master)
        if found:
            check_reachable("--spark-master", found[1])
    if choice.job_endpoint is not None:
        check_job_service("--job-endpoint", choice.job_endpoint)
    # It is ended when this process ends, which Beam logs as a warning.
    logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.CRITICAL)
    return SparkRunner(), PipelineOptions(options)


def spark_options(choice: RunnerChoice) -> list[str]:
    """Options of Beam and, as properties of the job server, of Spark: a Python worker for every core of an executor.

    The job takes as many cores as ``choice.workers`` says, and an executor has one, unless the user's own properties
    say otherwise. Beam's default would be one worker an executor, however many cores that has.
    """
    options = [*portable_options(choice), f"--environment_cache_millis={WORKERS_STAY_MS}"]
    if choice.spark_master is not None:
        options.append(f"--spark_master_url={choice.spark_master}")
    if choice.job_server_jar is not None:
        options.append(f"--spark_job_server_jar={choice.job_server_jar}")
    said = re.findall(r"-Dspark\.executor\.cores=(\d+)", " ".join(choice.beam_options))
    cores = int(said[-1]) if said else 1
    # Of two equal properties Java takes the last.
    ours = {"spark.executor.cores": cores, "spark.cores.max": choice.workers}
    options += [f"--job_server_jvm_properties=-D{name}={value}" for name, value in ours.items()]
    return [*options, f"--sdk_worker_parallelism={cores}", *choice.beam_options]
