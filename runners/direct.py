"""Beam on this machine: its FnApiRunner, named explicitly (``DirectRunner`` may silently pick another)."""

from __future__ import annotations

import logging
import subprocess
import traceback
from collections.abc import Sequence

from pairmill.runners.quick_beam import quick_beam

with quick_beam():
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.transforms.environments import EmbeddedPythonEnvironment, SubprocessSDKEnvironment

    from pairmill.transforms.wiring.first_calls import SegmentNumbers

from pairmill.runners.places import note_error
from pairmill.runners.plain_error import told_plainly
from pairmill.runners.worker_processes import watched_workers
from pairmill.sharding.errors import PairmillError


def run_graph(
    segments: int,
    graph: beam.PTransform,
    build: str,
    workers: int,
    started: Sequence[subprocess.Popen[bytes]] = (),
) -> None:
    """Run a graph over segments in this process (one worker), or in ``workers`` processes.

    ``started`` are worker processes that are under way already. Raises PairmillError in one line, and KeyboardInterrupt
    where the user stopped it.
    """
    options = PipelineOptions(
        [],  # the command line of this process is not Beam's
        default_sdk_harness_log_level="CRITICAL",
        direct_num_workers=workers,
        direct_running_mode="in_memory",  # any other mode would replace the environment given below
    )
    environment = (
        # Not a command: the crew starts its workers itself.
        SubprocessSDKEnvironment.from_command_string("") if workers > 1 else EmbeddedPythonEnvironment.default()
    )
    # Beam prints every exception with its traceback, as often as it crosses a stage; one line is told below.
    for library in ("apache_beam", "grpc"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with watched_workers(started) as crew:
        try:
            with beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=options) as pipeline:
                _ = pipeline | "Segments" >> SegmentNumbers(segments) | "Build" >> graph
        except Exception as error:
            if str(error).strip().startswith("KeyboardInterrupt"):  # Beam takes it for an error of the step
                raise KeyboardInterrupt from error
            if crew.loss:
                raise PairmillError(crew.loss) from error
            # Of a full disk, most of all: the error that ended the run is the one to tell.
            note_error(build, traceback.format_exc())
            raise told_plainly(error, build) from error
