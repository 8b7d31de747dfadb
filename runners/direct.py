"""Beam on this machine: its FnApiRunner, named explicitly (``DirectRunner`` may silently pick another)."""

from __future__ import annotations

import logging
import re
import shlex
import sys
import traceback
from contextlib import suppress
from pathlib import Path

logging.disable(logging.WARNING)  # Beam says at import, through the root logger, what optional parts it lacks
import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.runners.portability.fn_api_runner import FnApiRunner  # noqa: E402
from apache_beam.transforms.environments import EmbeddedPythonEnvironment, SubprocessSDKEnvironment  # noqa: E402

logging.disable(logging.NOTSET)

from pairmill.pipeline.build import Prepared  # noqa: E402
from pairmill.runners.worker_processes import watched_workers  # noqa: E402
from pairmill.sharding.errors import PairmillError  # noqa: E402
from pairmill.transforms.wiring import BuildDataset  # noqa: E402

_WHERE = re.compile(r"^(.*?) \[while running '([^']*)'\]$", re.DOTALL)
#: Errors whose text is written for people, and says what to do.
_PLAIN = ("PairmillError", "UsageError", "ManifestError", "PoolError", "FetchAborted")
_RAISED = re.compile(r"^(?:[a-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Aborted|Refused)): (.*)$", re.MULTILINE)


def run_direct(prepared: Prepared, workers: int) -> None:
    """Run the graph in this process (one worker), or in ``workers`` processes. Raises PairmillError in one line.

    Raises KeyboardInterrupt where the user stopped it.
    """
    options = PipelineOptions(
        [],  # the command line of this process is not Beam's
        default_sdk_harness_log_level="CRITICAL",
        direct_num_workers=workers,
        direct_running_mode="in_memory",  # any other mode would replace the environment given below
    )
    worker = f"{shlex.quote(sys.executable)} -m pairmill.runners.worker"
    environment = (
        SubprocessSDKEnvironment.from_command_string(worker) if workers > 1 else EmbeddedPythonEnvironment.default()
    )
    # Beam prints every exception with its traceback, as often as it crosses a stage; one line is told below.
    for library in ("apache_beam", "grpc"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with watched_workers() as crew:
        try:
            with beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=options) as pipeline:
                _ = pipeline | "Segments" >> beam.Create(prepared.segments) | "Build" >> BuildDataset(prepared.job)
        except Exception as error:
            if str(error).strip().startswith("KeyboardInterrupt"):  # Beam takes it for an error of the step
                raise KeyboardInterrupt from error
            if crew.loss:
                raise PairmillError(crew.loss) from error
            with suppress(OSError):  # of a full disk, most of all: the error that ended the run is the one to tell
                (Path(prepared.job.build) / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            raise told_plainly(error, prepared.job.build) from error


def told_plainly(error: BaseException, build: str) -> PairmillError:
    """The line that matters of an exception which crossed Beam, where a worker's traceback may arrive as text."""
    # A KeyError tells its text as code, in quotes.
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    text, kind = str(told).strip(), type(error).__name__
    raised = _RAISED.findall(text)
    if raised:
        kind, text = raised[-1]
    where = _WHERE.match(text)
    if where:
        text = where[1]
    text = text.strip().partition("\n")[0]
    if kind in _PLAIN:
        return PairmillError(text)
    if isinstance(error, OSError) or kind in ("OSError", "PermissionError", "FileNotFoundError"):
        return PairmillError(f"{text}; mend that and run the same command again: finished blocks are kept")
    step = f" in step {where[2].split('/')[-1]!r}" if where else ""
    return PairmillError(f"{kind}{step}: {text} (the whole traceback is in {build}/error.txt)")
