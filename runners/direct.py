"""Beam on this machine: its FnApiRunner, named explicitly (``DirectRunner`` may silently pick another)."""

from __future__ import annotations

import logging
import re
import traceback
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pairmill.pipeline.build import Prepared
from pairmill.sharding.errors import PairmillError
from pairmill.transforms.wiring import BuildDataset

_WHERE = re.compile(r"^(.*?) \[while running '([^']*)'\]$", re.DOTALL)
_RAISED = re.compile(r"^(?:[a-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Aborted|Refused)): (.*)$", re.MULTILINE)


def run_direct(prepared: Prepared, workers: int) -> None:
    """Run the graph in this process (one worker), or in ``workers`` processes. Raises PairmillError in one line."""
    options = PipelineOptions(
        [],  # the command line of this process is not Beam's
        default_sdk_harness_log_level="CRITICAL",
        direct_num_workers=workers,
        direct_running_mode="multi_processing" if workers > 1 else "in_memory",
    )
    # Beam prints every exception with its traceback, as often as it crosses a stage; one line is told below.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    try:
        with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
            _ = pipeline | "Segments" >> beam.Create(prepared.segments) | "Build" >> BuildDataset(prepared.job)
    except Exception as error:
        (Path(prepared.job.build) / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        raise told_plainly(error, prepared.job.build) from error


def told_plainly(error: BaseException, build: str) -> PairmillError:
    """The line that matters of an exception which crossed Beam, where a worker's traceback may arrive as text."""
    text, kind = str(error).strip(), type(error).__name__
    raised = _RAISED.findall(text)
    if raised:
        kind, text = raised[-1]
    where = _WHERE.match(text)
    if where:
        text = where[1]
    if kind == "PairmillError":
        return PairmillError(text)
    if isinstance(error, OSError) or kind in ("OSError", "PermissionError", "FileNotFoundError"):
        return PairmillError(f"{text}; mend that and run the same command again: finished blocks are kept")
    step = f" in step {where[2].split('/')[-1]!r}" if where else ""
    return PairmillError(f"{kind}{step}: {text} (the whole traceback is in {build}/error.txt)")
