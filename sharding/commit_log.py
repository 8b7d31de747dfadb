"""The commit log of a step: which blocks are done and where their columns lie.

Workers append lines to a file of their own; a run begins by folding those files into one parquet table. So a resume
reads a few files, however many blocks there are, and never looks at the blocks themselves.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import polars as pl

from pairmill.sharding.column_files import attempt_path, replace_file, write_row_groups
from pairmill.sharding.mirror import fresh, fresh_all, is_mirrored, listed, remove_files, upload
from pairmill.sharding.object_store import StoreError

#: Lines of a log that are parsed together.
BATCH = 20_000


@dataclass(frozen=True)
class Commit:
    """One part of one block, committed: ``rows`` rows in a row group of a column file named relative to the step."""

    block: int
    part: int
    path: str
    row_group: int
    rows: int
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)  # what the step counted, e.g. fetch statuses and bytes
    digest: str = ""  # of the block's rows, where the step reads them from outside


class CommitLog:
    """The log folder of one step. ``append`` is safe between threads and processes; ``fold`` is for the one driver."""

    FOLDED = "folded.parquet"
    #: A store cannot append: a process's file is put anew with every commit, so it is kept short and then begun anew.
    MAX_PUT_BYTES = 256 * 1024
    #: Progress alone reaches a store at most so often.
    PUT_S = 5.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._path = self._mine = folder  # the name of this process's file, and the file
        self._put_at = 0.0

    def append(self, commits: list[Commit]) -> None:
        """Add lines to this process's own log file, durable when the call returns."""
        self._write("".join(json.dumps(asdict(commit), separators=(",", ":")) + "\n" for commit in commits), sync=True)

    def progress(self, rows: int) -> None:
        """Say that so many rows more were worked on, for the progress bar; not durable, and no commit."""
        self._write(f'{{"progress":{rows}}}\n', sync=False)

    def read(self) -> list[Commit]:
        """Every commit, in no stated order; a line that a killed worker left unfinished is passed over."""
        return self._folded() + self._loose()

    def table(self) -> pl.DataFrame:
        """The same as columns, sorted by block and part, the last commit of each; ``counts`` is JSON text."""
        folded = fresh(self.folder / self.FOLDED)
        frames = [_frame([])] + ([pl.read_parquet(folded)] if folded.is_file() else [])
        frames += [_frame(commits) for commits in self._batches()]
        return pl.concat(frames).unique(["block", "part"], keep="last", maintain_order=True).sort("block", "part")

    def fold(self) -> list[Commit]:
        """Gather all lines into one table and remove the workers' files; returns every commit. Driver only."""
        self.close()  # an open file that is removed below would swallow later lines
        self.folder.mkdir(parents=True, exist_ok=True)
        loose_files = listed(self.folder, "*.jsonl")
        commits = list({(c.block, c.part): c for c in self.read()}.values())
        commits.sort(key=lambda c: (c.block, c.part))
        if loose_files:
            self.replace(commits)
            remove_files(loose_files)
        return commits

    def replace(self, commits: list[Commit]) -> None:
        """Make ``commits`` the folded table."""
        target = self.folder / self.FOLDED
        attempt = attempt_path(target)
        write_row_groups(attempt, [_frame(commits)])
        replace_file(attempt, target)

    def close(self) -> None:
        """Close this process's own log file."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _folded(self) -> list[Commit]:
        target = fresh(self.folder / self.FOLDED)
        if not target.is_file():
            return []
        rows = pl.read_parquet(target).iter_rows()
        return [Commit(b, p, path, g, n, s, json.loads(counts), digest) for b, p, path, g, n, s, counts, digest in rows]

    def _loose(self) -> list[Commit]:
        return [commit for commits in self._batches() for commit in commits]

    def _batches(self) -> Iterator[list[Commit]]:
        """The commits of the workers' files, some lines at a time: as objects they take a kilobyte each."""
        for file in fresh_all(listed(self.folder, "*.jsonl")):
            commits = []
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(record, dict) and "block" in record:
                        commits.append(Commit(**record))
                    if len(commits) >= BATCH:
                        yield commits
                        commits = []
            yield commits

    def _write(self, text: str, sync: bool) -> None:
        with self._lock:
            if self._handle is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}.jsonl"
                self._path = self.folder / name
                # In a mirror the final name is that of the store's copy, which every reader fetches anew.
                mine = attempt_path(self._path) if is_mirrored(self.folder) else self._path
                self._handle = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                self._mine = mine
            try:
                left = text.encode()
                while left:  # a nearly full disk takes a part, and refuses the next
                    left = left[os.write(self._handle, left) :]
                if sync:
                    os.fsync(self._handle)
                if self._mine != self._path:
                    self._put(sync)
            except (OSError, StoreError):
                # The line may be torn: the next one must not be written behind it, or it would be lost with it.
                os.close(self._handle)
                self._handle = None
                raise

    def _put(self, sync: bool) -> None:
        """Have the store's copy of this process's file grow too; a full one is left for a new one."""
        if sync or time.monotonic() - self._put_at >= self.PUT_S:
            upload(self._path, self._mine)
            self._put_at = time.monotonic()
            assert self._handle is not None
            if os.fstat(self._handle).st_size >= self.MAX_PUT_BYTES:
                os.close(self._handle)
                self._handle = None


def _frame(commits: list[Commit]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "block": pl.Series([c.block for c in commits], dtype=pl.Int64),
            "part": pl.Series([c.part for c in commits], dtype=pl.Int32),
            "path": pl.Series([c.path for c in commits], dtype=pl.String),
            "row_group": pl.Series([c.row_group for c in commits], dtype=pl.Int32),
            "rows": pl.Series([c.rows for c in commits], dtype=pl.Int64),
            "seconds": pl.Series([c.seconds for c in commits], dtype=pl.Float64),
            "counts": pl.Series([json.dumps(c.counts) for c in commits], dtype=pl.String),
            "digest": pl.Series([c.digest for c in commits], dtype=pl.String),
        }
    )
