"""``pairmill stage-in``: a dataset from any store to this machine's disk."""

from __future__ import annotations

from pathlib import Path

from pairmill.runners.copy_progress import copy_line, copy_progress
from pairmill.sharding.errors import UsageError
from pairmill.transforms.dataset_copy import CopySettings
from pairmill.transforms.stage_in import stage_in


def stage(source: str, folder: Path, streams: int, recheck: bool, quiet: bool) -> int:
    """Copy the dataset and say how fast; returns the exit code."""
    try:
        settings = CopySettings(streams=streams, recheck=recheck)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    with copy_progress(quiet) as progress:
        done = stage_in(source, folder, settings, progress)
    if not quiet:
        print(f"{folder}: {copy_line(done)}")
    return 0
