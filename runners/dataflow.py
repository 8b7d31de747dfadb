"""Dataflow: Google's service runs the graph in containers of an image with pairmill in it."""

from __future__ import annotations

from importlib.util import find_spec

from pairmill.runners.quick_beam import quick_beam
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.sharding.errors import UsageError

with quick_beam():
    from apache_beam.options.pipeline_options import (
        GoogleCloudOptions,
        PipelineOptions,
        SetupOptions,
        WorkerOptions,
    )
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
    from apache_beam.runners.runner import PipelineRunner

_CLIENT = "google.cloud.dataflow"


def dataflow_runner(choice: RunnerChoice) -> tuple[PipelineRunner, PipelineOptions]:
    """The runner and options for a job of the service. Raises UsageError for what is not given or not installed."""
    options = dataflow_options(choice)
    if not _is_installed(_CLIENT):
        raise UsageError("--runner dataflow: Google's client is not installed: pip install 'pairmill[run,dataflow]'")
    return DataflowRunner(), options


def dataflow_options(choice: RunnerChoice) -> PipelineOptions:
    """Ours, then the user's behind the ``--``, which win. Raises UsageError that names what is missing.

    A process works at one lane at a time (``number_of_worker_harness_threads``): a second thread would only share its
    core. With an accelerator a machine has one process, since every process loads its own copy of a model.
    """
    ours = [f"--max_num_workers={choice.workers}", "--number_of_worker_harness_threads=1", "--no_save_main_session"]
    if choice.accelerator is not None:
        ours.append("--experiments=no_use_multiple_sdk_containers")
    options = PipelineOptions([*ours, *choice.beam_options])
    google = options.view_as(GoogleCloudOptions)
    missing = [f"--{name}" for name in ("project", "region", "temp_location") if not getattr(google, name)]
    if not (options.view_as(WorkerOptions).sdk_container_image or options.view_as(SetupOptions).setup_file):
        missing.append("--sdk_container_image")
    if missing:
        raise UsageError(f"--runner dataflow: give {', '.join(missing)} behind a -- (docs/clusters.md)")
    if not google.temp_location.startswith("gs://"):
        raise UsageError(f"--temp_location={google.temp_location}: Dataflow needs a place in gs://")
    return options


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a parent
        return False
