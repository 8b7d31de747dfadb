"""A graph, run where the user chose: on this machine, or handed to a job service."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pairmill.runners.runner_choice import RunnerChoice
from pairmill.sharding.errors import UsageError
from pairmill.transforms.pool.plan import Segment

if TYPE_CHECKING:
    import apache_beam as beam


def run_on(
    choice: RunnerChoice,
    segments: Sequence[Segment],
    graph: beam.PTransform,
    build: str,
    started: Sequence[subprocess.Popen[bytes]] = (),
) -> None:
    """Run a graph over segments to its end. Raises PairmillError in one line, KeyboardInterrupt where it was stopped.

    ``started`` are worker processes of this machine that are under way already, for the runner ``direct`` alone.
    """
    if choice.name == "direct":
        from pairmill.runners.direct import run_graph

        run_graph(segments, graph, build, choice.workers, started)
        return
    from pairmill.runners.portable import job_service_runner, run_through_job_service

    if choice.name == "flink":
        from pairmill.runners.flink import flink_runner

        runner, options = flink_runner(choice)
    elif choice.name == "spark":
        from pairmill.runners.spark import spark_runner

        runner, options = spark_runner(choice)
    elif choice.name == "portable":
        runner, options = job_service_runner(choice)
    else:
        raise UsageError(f"--runner {choice.name}: it is not built yet")
    run_through_job_service(runner, options, segments, graph, build)
