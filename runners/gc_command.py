"""``pairmill gc``: what of a work folder no build needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pairmill.pipeline.work import lock_folder
from pairmill.pipeline.work_gc import survey_work
from pairmill.sharding.byte_size import told_bytes
from pairmill.sharding.errors import UsageError


def collect_waste(work: Path, keep_builds: Sequence[Path], drop_spool: bool, yes: bool) -> int:
    """List what can go, with sizes, and with ``yes`` remove it; returns 0.

    Raises UsageError for what is no work folder, PairmillError where a run is using it.
    """
    if not (work / "work.json").is_file():
        raise UsageError(f"{work} is no work folder (it has no work.json); name the --work of a run, or BUILD/work")
    with lock_folder(work, "the work folder"):
        survey = survey_work(work, keep_builds, drop_spool)
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column(justify="right")
        for found in survey.waste:
            table.add_row(Text(found.what), f"{found.files:,}", told_bytes(found.bytes))
        if survey.waste:
            Console(soft_wrap=True).print(table)
        for note in survey.notes:
            print(note)
        if not survey.waste:
            print(f"{work}: nothing to remove")
        elif yes:
            for found in survey.waste:
                found.remove()
            print(f"{work}: {told_bytes(survey.bytes)} freed")
        else:
            print(f"{work}: {told_bytes(survey.bytes)} would be freed; say --yes to remove them")
    return 0
