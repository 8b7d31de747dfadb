"""What a person sees of a run: a bar fed from the commit log, and the funnel at the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from pairmill.pipeline.contamination import contamination_lines
from pairmill.pipeline.mixture_report import mixture_lines
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.report import funnel_lines, left_lines, score_lines, words_lines
from pairmill.pipeline.shard_report import plan_lines, shard_lines
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.mirror import fetched, fresh_all, is_mirrored, is_there, listed, listed_sizes
from pairmill.sharding.object_store import is_url

POLL_S = 0.5
#: A store is asked over the network, and takes something for every question.
STORE_POLL_S = 5.0


class Progress:
    """A progress bar over the images of the fetch, while the block lasts; it only reads, and never fails the run."""

    def __init__(self, prepared: Prepared, enabled: bool = True) -> None:
        self._job = prepared.job
        self._enabled = enabled
        self._stop = threading.Event()
        self._seen: tuple[int, ...] = (0, 0, 0)
        self._last = 0
        self._told: list[str] = []
        self._thread = threading.Thread(target=self._watch, name="pairmill-progress", daemon=True)

    def __enter__(self) -> Progress:
        if self._enabled:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._enabled:
            self._thread.join()

    def _watch(self) -> None:
        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
        )  # fmt: skip
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("reading the pool", total=None, rate="")
            tail = LogTail(self._job.fetch_store.log.folder)
            scores = [LogTail(run.store.log.folder) for run in self._job.scorers]
            words = [LogTail(run.store.log.folder) for run in self._job.words]
            poll_s = STORE_POLL_S if is_mirrored(self._job.parts) or is_url(self._job.fetch_store.work) else POLL_S
            while not self._stop.wait(poll_s):
                with suppress(PairmillError, OSError):  # of a store that does not answer for a while
                    self._show(bar, task, tail, scores, words)

    def _show(
        self, bar: Bar, task: Any, tail: LogTail, scores: Sequence[LogTail] = (), words: Sequence[LogTail] = ()
    ) -> None:
        if not is_there(self._job.lanes_path):
            return
        done = tail.rows()
        scored = sum(each.rows() for each in scores)
        written = sum(each.rows() for each in words)
        planned = is_there(self._job.parts / "orders.npz")
        if planned and not self._told:
            for path in (self._job.parts / "plan.json", self._job.parts / "orders.npz"):
                fetched(path)
            self._told = plan_lines(self._job, moves_only=not bar.console.is_terminal)
            for line in self._told:
                bar.console.print(line, highlight=False, soft_wrap=True)
        shards = len(listed(self._job.shard_log, "*.json")) if planned else 0
        if shards:
            bar.update(task, description="writing shards", completed=shards, total=None, rate="shards")
            return
        went_on = self._what_went_on(done, scored, written)
        if went_on:
            description, completed = (("scoring", scored), ("writing texts", written))[went_on - 1]
            bar.update(task, description=description, completed=completed, total=None, rate="pairs")
            return
        seconds = bar.tasks[0].elapsed or 0
        total = int(self._job.lane_plan().rows.sum())
        rate = f"{done / seconds:,.0f} pairs/s" if seconds else ""
        bar.update(task, description="fetching", completed=done, total=total, rate=rate)

    def _what_went_on(self, *counts: int) -> int:
        """Which count grew last; of several the last: texts are scored before the fetch, images after it."""
        grown = [place for place, (now, before) in enumerate(zip(counts, self._seen, strict=True)) if now != before]
        if grown:
            self._last = grown[-1]
            self._seen = counts
        return self._last


class LogTail:
    """Counts the rows that workers report in their log files, reading each byte once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._rows = 0

    def rows(self) -> int:
        """Rows worked on since the run began."""
        sizes = listed_sizes(self._folder, "*.jsonl")
        for path in fresh_all([path for path, size in sizes.items() if size > self._read.get(path, 0)]):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                if line.startswith(b'{"progress"'):
                    self._rows += int(json.loads(line)["progress"])
        return self._rows


def print_funnel(report: dict[str, Any], out: Path | str) -> None:
    """The table at the end of a run."""
    table = Table(title=f"{out}: {report['kept']:,} of {report['pool_rows']:,} pairs kept")
    for name, side in (("stage", "left"), ("reason", "left"), ("rows", "right"), ("share", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for stage, reason, rows, part in funnel_lines(report):
        table.add_row(stage, reason, f"{rows:,}", f"{part:.2%}")
    console = Console()
    console.print(table)
    told = (mixture_lines, score_lines, words_lines, contamination_lines, shard_lines, left_lines)
    for line in (line for lines in told for line in lines(report)):
        console.print(line, highlight=False, soft_wrap=True)
