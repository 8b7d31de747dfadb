"""``pairmill reshard``: the samples of a dataset in other shards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pairmill.sharding.errors import UsageError
from pairmill.sharding.reshard import reshard
from pairmill.sharding.reshard_plan import ReshardSettings
from pairmill.sharding.shard_groups import ShardGroups


def reshard_dataset(source: Path, folder: Path, workers: int, quiet: bool, **settings: Any) -> int:
    """Make the new dataset and say what it holds; returns the exit code."""
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least 1 is needed")
    try:
        checked = ReshardSettings(**settings)
    except ValueError as error:
        raise UsageError(str(error)) from error
    columns = (TextColumn("shards"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("shards", total=None)
        done = reshard(source, folder, checked, workers, lambda n, of: bar.update(task, completed=n, total=of))
    if not quiet:
        print(
            f"{folder}: {done.samples:,} of {done.source_samples:,} samples in {done.shards:,} shards, "
            f"{done.bytes / 1e9:.2f} GB"
        )
    return 0


def groups_asked(by: str | None, cuts: str, names: str, least: int) -> ShardGroups | None:
    """The groups of ``--group-by`` and what goes with it; None without. Raises UsageError."""
    if by is None:
        if cuts or names or least != 1:
            raise UsageError("--group-by: name the column that --group-cuts, --group-names or --group-min are about")
        return None
    try:
        numbers = tuple(float(cut) for cut in cuts.split(",") if cut)
        return ShardGroups(
            by=by, cuts=numbers, names=tuple(name for name in names.split(",") if name), min_samples=least
        )
    except ValueError as error:
        raise UsageError(f"--group-by: {error}") from error
