"""What a copy of a dataset shows: a bar of bytes while it runs, one line at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from pairmill.transforms.dataset_copy import Copied


@contextmanager
def copy_progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere; gives what is told the bytes in place and all bytes."""
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("copying", total=None)
        yield lambda there, whole: bar.update(task, completed=there, total=whole)


def copy_line(done: Copied) -> str:
    """How much was copied, and how fast."""
    rate = done.copied_bytes / 1e6 / max(done.seconds, 1e-3)
    return (
        f"{done.copied_files:,} files copied and checked, {done.copied_bytes / 1e9:.2f} GB in "
        f"{done.seconds:.1f} s ({rate:,.0f} MB/s); {done.present_files:,} were there"
    )
