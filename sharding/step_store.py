"""Where the column files of one step lie, and how a block of them is committed and read back."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import polars as pl

from pairmill.sharding.column_files import (
    attempt_path,
    publish_once,
    read_row_groups,
    row_counts,
    write_row_groups,
)
from pairmill.sharding.commit_log import Commit, CommitLog
from pairmill.sharding.commit_table import by_block
from pairmill.sharding.mirror import fetched, listed, open_place, remove_files, seen
from pairmill.sharding.pair import block_name
from pairmill.sharding.publish import TEMPORARY_MARK

FOLDER_BITS = 8  # 256 blocks a folder, so that no folder of a large pool holds a million names
PACK_BLOCKS = 256


@dataclass(frozen=True)
class StepStore:
    """The artefacts of one step in a work folder: ``columns/STEP-FINGERPRINT`` and ``log/STEP-FINGERPRINT``.

    ``work`` is a path or a URL: see ``sharding.mirror``.

    ``run`` names the run that asks: what earlier runs committed is read once per run and process, and kept.
    """

    work: str
    step: str
    fingerprint: str
    run: str

    @property
    def name(self) -> str:
        """The folder name that the step's columns and log share."""
        return f"{self.step}-{self.fingerprint[:16]}"

    @property
    def columns_folder(self) -> Path:
        """Where the column files lie."""
        return open_place(self.work) / "columns" / self.name

    @property
    def spool_folder(self) -> Path:
        """Where the tars lie that the column files name."""
        return open_place(self.work) / "spool" / self.name

    @property
    def log(self) -> CommitLog:
        """The step's commit log, one writer a process."""
        return _log(str(open_place(self.work) / "log" / self.name), self.run)

    def snapshot(self, moment: str) -> Mapping[int, list[Commit]]:
        """What is committed at a moment of the run: block → its parts in order. Do not change it.

        The log is read once a process, run and moment: ask under a name that belongs to a point of the run at which
        everything needed is committed (``start``, or a stage that follows a barrier).
        """
        return _committed(str(open_place(self.work) / "log" / self.name), self.run, moment)

    def column_path(self, block: int, part: int = 0) -> Path:
        """The final name of the column file whose first block is ``block``."""
        name = block_name(block)
        return self.columns_folder / name[: -FOLDER_BITS // 4] / f"{name}.p{part}.parquet"

    def commit(
        self,
        blocks: Sequence[int],
        frames: Iterable[pl.DataFrame],
        *,
        part: int = 0,
        seconds: float = 0.0,
        counts: dict[str, int] | None = None,
        digests: Sequence[str] | None = None,
        on_loss: Callable[[], None] | None = None,
    ) -> list[Commit]:
        """Write the frames of ``blocks`` as one column file, publish it if none is there, and log it.

        The published file is the commit: where another attempt was first, its file counts, ``on_loss`` is called and
        the log gets the winner's rows. ``counts``, of all the blocks together, stand with the first one. Returns the
        commits of all the blocks.
        """
        final = self.column_path(blocks[0], part)
        final.parent.mkdir(parents=True, exist_ok=True)
        attempt = attempt_path(final)
        rows = write_row_groups(attempt, frames)
        if not publish_once(attempt, final):
            if on_loss is not None:
                on_loss()
            rows = row_counts(final)
        path = str(final.relative_to(self.columns_folder))
        commits = [
            Commit(
                block,
                part,
                path,
                group,
                rows[group],
                seconds / len(blocks),
                (counts or {}) if group == 0 else {},
                digests[group] if digests else "",
            )
            for group, block in enumerate(blocks)
        ]
        self.log.append(commits)
        return commits

    def adopt(
        self, blocks: Sequence[int], part: int = 0, count: Callable[[pl.DataFrame], dict[str, int]] | None = None
    ) -> list[Commit] | None:
        """The commits of a column file that a killed worker published but did not log; None where there is no file.

        ``count`` gives a commit's counts from its columns, where the step has some.
        """
        final = self.column_path(blocks[0], part)
        try:
            if not fetched(final).is_file():
                return None
        except FileNotFoundError:
            return None
        path = str(final.relative_to(self.columns_folder))
        rows = row_counts(final)
        counts = (
            [count(frame) for frame in read_row_groups(final, range(len(blocks)))] if count else [{} for _ in blocks]
        )
        commits = [
            Commit(block, part, path, group, rows[group], counts=counts[group]) for group, block in enumerate(blocks)
        ]
        self.log.append(commits)
        return commits

    def read(self, commits: Sequence[Commit], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The columns of one or more committed parts, one below another; each file is opened once."""
        places: dict[str, list[int]] = defaultdict(list)
        for index, commit in enumerate(commits):
            places[commit.path].append(index)
        frames: dict[int, pl.DataFrame] = {}
        for path, indices in places.items():
            groups = [commits[index].row_group for index in indices]
            file = seen(self.columns_folder / path)
            frames.update(zip(indices, read_row_groups(file, groups, columns), strict=True))
        return pl.concat([frames[index] for index in range(len(commits))])

    def remove_unfinished(self) -> None:
        """Remove the files that killed or failed attempts began and nobody will name. Driver only."""
        for folder in (self.columns_folder, self.log.folder):
            for path in folder.glob(f"**/*{TEMPORARY_MARK}*"):
                path.unlink(missing_ok=True)

    def pack(self) -> None:
        """Gather small column files of finished blocks into files of up to 256 blocks. Driver only.

        The log is replaced before the small files go, so that a kill at any point leaves every commit readable.
        """
        commits = self.log.fold()
        loose = [c for c in commits if not c.path.startswith("pack-")]
        if len({c.path for c in loose}) < PACK_BLOCKS:
            return
        packed: list[Commit] = [c for c in commits if c.path.startswith("pack-")]
        for start in range(0, len(loose), PACK_BLOCKS):
            packed.extend(self._pack_file(loose[start : start + PACK_BLOCKS]))
        self.log.replace(sorted(packed, key=lambda c: (c.block, c.part)))
        remove_files([self.columns_folder / path for path in sorted({c.path for c in loose})])
        named = {c.path for c in packed}
        # Of packs that were killed before the log named them.
        remove_files([left for left in listed(self.columns_folder, "pack-*") if left.name not in named])

    def _pack_file(self, commits: list[Commit]) -> list[Commit]:
        first, last = commits[0], commits[-1]
        # The name tells every member: a pack that was killed may have left a file of the same ends and other rows.
        members = hashlib.blake2b(
            repr([(c.block, c.part, c.path, c.row_group) for c in commits]).encode(), digest_size=8
        )
        ends = f"{block_name(first.block)}.p{first.part}-{block_name(last.block)}.p{last.part}"
        name = f"pack-{ends}-{members.hexdigest()}.parquet"
        attempt = attempt_path(self.columns_folder / name)
        write_row_groups(attempt, (self.read([commit]) for commit in commits))
        publish_once(attempt, self.columns_folder / name)
        return [replace(c, path=name, row_group=group) for group, c in enumerate(commits)]


@lru_cache(maxsize=128)  # a store a step and a scorer; a log that fell out would be begun a second time
def _log(folder: str, run: str) -> CommitLog:
    return CommitLog(Path(folder))


@lru_cache(maxsize=256)
def _committed(folder: str, run: str, moment: str) -> Mapping[int, list[Commit]]:
    return by_block(CommitLog(Path(folder)).table())
