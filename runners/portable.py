"""Beam's portable runner: the graph is handed to a job service, which runs it on workers that it knows."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pairmill.runners.quick_beam import quick_beam

with quick_beam():
    import apache_beam as beam
    import grpc
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability import python_urns
    from apache_beam.runners.portability.portable_runner import PortableRunner
    from apache_beam.runners.runner import PipelineRunner

from pairmill.runners.plain_error import told_plainly
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.sharding.errors import PairmillError
from pairmill.transforms.pool.plan import Segment

#: So long an address may take to answer, be it a socket or Beam's protocol on it.
ANSWER_S = 20.0
#: Beam also bounds the whole job by this option, where a job service knows a job before it runs.
JOB_SERVER_TIMEOUT_S = 10**8
POLL_S = 0.2


def job_service_runner(choice: RunnerChoice) -> tuple[PipelineRunner, PipelineOptions]:
    """The runner and options for a job service that is running. Raises PairmillError where nothing answers there."""
    assert choice.job_endpoint is not None
    check_job_service("--job-endpoint", choice.job_endpoint)
    return PortableRunner(), PipelineOptions([*portable_options(choice), *choice.beam_options])


def portable_options(choice: RunnerChoice) -> list[str]:
    """Options of Beam that every job service takes: its address, and the workers' environment."""
    options = [f"--job_server_timeout={JOB_SERVER_TIMEOUT_S}"]
    if choice.job_endpoint is not None:
        options.append(f"--job_endpoint={choice.job_endpoint}")
    kind, config = choice.environment_type, choice.environment_config
    if kind == "SUBPROCESS":
        kind = python_urns.SUBPROCESS_SDK
        config = config or f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
    if kind is not None:
        options.append(f"--environment_type={kind}")
    if config is not None:
        options.append(f"--environment_config={config}")
    return options


def check_reachable(option: str, address: str) -> None:
    """Raise PairmillError where nothing listens at HOST:PORT; ``option`` is what the user gave it by."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PairmillError(
            f"{option} {address}: nothing answers there ({told}); is it running, and reachable?"
        ) from error


def check_job_service(option: str, address: str) -> None:
    """Raise PairmillError where no Beam job service answers at HOST:PORT; Beam itself would wait for ever."""
    check_reachable(option, address)
    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=ANSWER_S)
    except grpc.FutureTimeoutError as error:
        raise PairmillError(f"{option} {address}: what listens there is no Beam job service") from error
    finally:
        channel.close()


def run_through_job_service(
    runner: PipelineRunner, options: PipelineOptions, segments: Sequence[Segment], graph: beam.PTransform, build: str
) -> None:
    """Submit a graph over segments and wait for its end. Raises PairmillError in one line."""
    with _quiet():
        try:
            pipeline = beam.Pipeline(runner=runner, options=options)
            _ = pipeline | "Segments" >> beam.Create(segments) | "Build" >> graph
            _wait(pipeline.run())
        except PairmillError:
            raise
        except Exception as error:
            with suppress(OSError):
                (Path(build) / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            raise told_plainly(error, build) from error


def _wait(result: Any) -> None:
    """Wait for a job's end; it is cancelled where the user stops the run."""
    ended: list[BaseException | None] = []

    def wait() -> None:
        try:
            result.wait_until_finish()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=wait, name="pairmill-job", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_S)
    except BaseException:
        with suppress(Exception):
            result.cancel()
        raise
    if ended[0] is not None:
        raise ended[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Beam logs what a job service says as it comes, and every error with its traceback; one line is told instead."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
