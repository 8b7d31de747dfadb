"""Beam's portable runner: the graph is handed to a job service, which runs it on workers that it knows."""

from __future__ import annotations

import logging
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pairmill.runners.quick_beam import quick_beam

with quick_beam():
    import apache_beam as beam
    import grpc
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
    from apache_beam.portability import python_urns
    from apache_beam.portability.api import beam_job_api_pb2
    from apache_beam.runners.portability.portable_runner import PortableRunner
    from apache_beam.runners.runner import PipelineRunner

from pairmill.runners.places import note_error
from pairmill.runners.plain_error import is_plain, told_plainly
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.sharding.errors import PairmillError
from pairmill.transforms.greeting import Greeting
from pairmill.transforms.job import Job
from pairmill.transforms.wiring.first_calls import MeetWorkers

JOB_MESSAGE_ERROR = beam_job_api_pb2.JobMessage.JOB_MESSAGE_ERROR
#: So long an address may take to answer, be it a socket or Beam's protocol on it.
ANSWER_S = 20.0
#: Beam also bounds the whole job by this option, where a job service knows a job before it runs.
JOB_SERVER_TIMEOUT_S = 10**8
POLL_S = 0.2
NO_ANSWER = "the job failed before a worker had answered"
CANCEL_S = 5.0
#: So many that each worker is likely to get one; those that get none answer with their first piece of work.
CALLS_PER_WORKER = 4


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
    choice: RunnerChoice,
    runner: PipelineRunner,
    options: PipelineOptions,
    segments: int,
    graph: beam.PTransform,
    job: Job,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Submit a graph over segments and wait for its end; ``watch`` is called every now and then until then.

    Raises PairmillError in one line: what a step raises, or the watch, or what keeps the workers from answering in
    ``choice.patience_s``.
    """
    greeting = job.greeting
    assert greeting is not None
    greeting.post()
    calls = CALLS_PER_WORKER * choice.workers
    template = options.view_as(GoogleCloudOptions).template_location
    try:
        with _quiet():
            pipeline = beam.Pipeline(runner=runner, options=options)
            _ = pipeline | "Workers" >> MeetWorkers(greeting, segments, calls) | "Build" >> graph
            result = pipeline.run()
            if template:
                raise TemplateWritten(
                    f"the job lies in {template}; run the template while nothing else writes to {job.build}, then run "
                    "this command without --template_location, which goes on from what the job has committed"
                )
            _wait(result, choice, greeting, watch)
    except PairmillError:
        raise
    except Exception as error:
        said = traceback.format_exc()
        note_error(job.build, said)
        raise _told(said, error, choice, greeting, job.build) from error
    finally:
        if not template:
            greeting.withdraw()


def _wait(result: Any, choice: RunnerChoice, greeting: Greeting, watch: Callable[[], None]) -> None:
    """Wait for a job's end; it is cancelled where the user or the watch stops the run, and where no worker answers."""
    ended: list[BaseException | None] = []

    def wait() -> None:
        try:
            result.wait_until_finish()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=wait, name="pairmill-job", daemon=True)
    thread.start()
    last = time.monotonic() + choice.patience_s
    met = False
    try:
        while thread.is_alive():
            thread.join(POLL_S)
            watch()
            met = met or greeting.answers() > 0
            if not met and time.monotonic() > last and thread.is_alive():
                raise PairmillError(
                    f"no worker has answered in {choice.patience_s:g} s: {_look_at(choice)} are task slots free? (the "
                    "job was cancelled; --worker-timeout gives more time)"
                )
    except BaseException:
        # A job service that hangs must not make this hang.
        cancelling = threading.Thread(target=_cancel, args=(result,), name="pairmill-cancel", daemon=True)
        cancelling.start()
        cancelling.join(CANCEL_S)
        raise
    if ended[0] is not None:
        raise JobFailed(_errors_of(result) or str(ended[0])) from ended[0]


class TemplateWritten(PairmillError):
    """The job was not run, as the user asked; its workers will look for the token that stays."""

    exit_code = 0


class JobFailed(Exception):
    """A job that a job service ran has failed; the text is all that it said of errors."""


def _errors_of(result: Any) -> str:
    """The error messages of a job service, in order."""
    said = [message.message_response for message in result._messages if message.HasField("message_response")]
    return "\n".join(each.message_text for each in said if each.importance == JOB_MESSAGE_ERROR)


def _told(said: str, error: Exception, choice: RunnerChoice, greeting: Greeting, build: str) -> PairmillError:
    """One line on a job that failed."""
    lacking = re.search(r"No module named '(\w+)", said)
    if lacking and not is_plain(said):
        return PairmillError(
            f"the workers have no package {lacking[1]!r}: they need the packages of this machine, pairmill among them, "
            "in their image or environment (docs/clusters.md)"
        )
    if greeting.answers() or is_plain(said):
        return told_plainly(error, build)
    why = re.search(r'(?:details = |"?grpc_message"?:)"([^"]+)"', said)
    plain = why[1] if why else str(told_plainly(error, build))
    return PairmillError(f"{NO_ANSWER}: {_look_at(choice)} ({plain})")


def _cancel(result: Any) -> None:
    with suppress(Exception):
        result.cancel()


def _look_at(choice: RunnerChoice) -> str:
    """What to look at where workers do not come, as a question."""
    pool = choice.environment_config
    return {
        "EXTERNAL": f"is a worker pool at {pool}, as the cluster sees it, and has its Python pairmill and Beam?",
        "DOCKER": f"can the cluster's machines start the image {pool}?",
        "SUBPROCESS": "has the job service's Python pairmill and Beam?",
        "PROCESS": "does the command start Beam's worker on the cluster's machines?",
        "LOOPBACK": "can the cluster's machines reach this one?",
    }.get(choice.environment_type or "", "are workers there?")


@contextmanager
def _quiet() -> Iterator[None]:
    """Beam logs what a job service says as it comes, and every error with its traceback; one line is told instead."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
