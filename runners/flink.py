"""Flink: Beam's job server turns the graph into a job of a running session cluster."""

from __future__ import annotations

from pairmill.runners.portable import check_job_service, check_reachable, portable_options
from pairmill.runners.quick_beam import quick_beam
from pairmill.runners.runner_choice import RunnerChoice

with quick_beam():
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.flink_runner import FlinkRunner
    from apache_beam.runners.runner import PipelineRunner


def flink_runner(choice: RunnerChoice) -> tuple[PipelineRunner, PipelineOptions]:
    """The runner and options for a session cluster. Raises PairmillError where nothing answers at the address."""
    options = [*portable_options(choice), f"--parallelism={choice.workers}", "--sdk_worker_parallelism=0"]
    if choice.flink_master is not None:
        check_reachable("--flink-master", choice.flink_master.removeprefix("http://").removeprefix("https://"))
        options.append(f"--flink_master={choice.flink_master}")
    if choice.job_endpoint is not None:
        check_job_service("--job-endpoint", choice.job_endpoint)
    if choice.job_server_jar is not None:
        options.append(f"--flink_job_server_jar={choice.job_server_jar}")
    return FlinkRunner(), PipelineOptions([*options, *choice.beam_options])
