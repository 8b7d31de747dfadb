"""``pairmill publish``: a finished dataset to any store."""

from __future__ import annotations

from pathlib import Path

from pairmill.runners.copy_progress import copy_line, copy_progress
from pairmill.sharding.errors import UsageError
from pairmill.transforms.dataset_copy import CopySettings
from pairmill.transforms.publish_dataset import publish_dataset

_TOLD = {"sum": "by the store's own sums", "bytes": "by reading them again", "size": "by size alone"}


def publish(dataset: Path, url: str, streams: int = 16, recheck: bool = False, quiet: bool = False) -> int:
    """Copy the dataset, say how fast and how the copies were compared; returns the exit code."""
    try:
        settings = CopySettings(streams=streams, recheck=recheck)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    with copy_progress(quiet) as progress:
        done = publish_dataset(dataset, url, settings, progress)
    if not quiet:
        print(f"{url}: {copy_line(done)}")
        for how, files in done.compared.items():
            print(f"{files:,} of them compared {_TOLD[how]}")
    return 0
