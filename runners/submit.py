"""A graph, run where the user chose: on this machine, or handed to a job service."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pairmill.pipeline.prepared import Prepared
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.transforms.greeting import Greeting, told_versions
from pairmill.transforms.job import Job
from pairmill.transforms.pool.plan import Segment
from pairmill.transforms.pool.segment_file import save_segments

if TYPE_CHECKING:
    import apache_beam as beam


def greeted(prepared: Prepared) -> Prepared:
    """The same for a cluster, whose workers must answer before they work."""
    job = prepared.job
    greeting = Greeting(job.run, job.build, job.pool_store.work, job.pool.path, told_versions())
    return replace(prepared, job=replace(job, greeting=greeting))


def run_on(
    choice: RunnerChoice,
    segments: Sequence[Segment],
    graph: beam.PTransform,
    job: Job,
    started: Sequence[subprocess.Popen[bytes]] = (),
) -> None:
    """Run a graph of ``job`` over segments to its end.

    ``started`` are worker processes of this machine that are under way already, for the runner ``direct`` alone.
    Raises PairmillError in one line, KeyboardInterrupt where the user stopped it.
    """
    save_segments(job.segments_path, segments)
    if choice.name == "direct":
        from pairmill.runners.direct import run_graph

        run_graph(len(segments), graph, job.build, choice.workers, started)
        return
    from pairmill.runners.portable import job_service_runner, run_through_job_service

    if choice.name == "flink":
        from pairmill.runners.flink import flink_job

        with flink_job(choice, job) as (runner, options, watch):
            run_through_job_service(choice, runner, options, len(segments), graph, job, watch)
        return
    if choice.name == "spark":
        from pairmill.runners.spark import spark_runner

        runner, options = spark_runner(choice)
    elif choice.name == "portable":
        runner, options = job_service_runner(choice)
    else:
        from pairmill.runners.dataflow import dataflow_runner

        runner, options = dataflow_runner(choice)
    run_through_job_service(choice, runner, options, len(segments), graph, job)
