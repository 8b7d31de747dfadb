"""The rows of a build's pool by block: out of its work folder, or of the pool's files where it was read in place."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pairmill.pipeline.recipe_section import read_section
from pairmill.pipeline.select_files import MARK
from pairmill.sharding.column_files import read_row_groups
from pairmill.sharding.commit_log import CommitLog
from pairmill.sharding.errors import UsageError
from pairmill.sharding.mirror import fetched, fresh, open_place
from pairmill.sharding.pair import block_number
from pairmill.transforms.pool.plan import Segment, plan_segments
from pairmill.transforms.pool.read import read_segment
from pairmill.transforms.pool.spec import PoolError, PoolSpec


class PoolBlocks:
    """The pool of a build, whose ``build.json`` is ``record``. Blocks asked for in ascending order are read once."""

    def __init__(self, build: Path, record: Mapping[str, Any]) -> None:
        self._build = build
        self._columns = open_place(record["work"]) / "columns" / record["pool"]
        self._commits = {c.block: c for c in CommitLog(open_place(record["work"]) / "log" / record["pool"]).read()}
        self._in_place: _InPlace | None = None

    def rows(self, block: int, names: Sequence[str]) -> pl.DataFrame:
        """The named columns of a block's rows. Raises UsageError where neither work folder nor pool has it."""
        commit = self._commits.get(block)
        if commit is not None:
            return read_row_groups(fetched(self._columns / commit.path), [commit.row_group], names)[0].select(names)
        if self._in_place is None:
            self._in_place = _InPlace(_spec_of(self._build))
        return self._in_place.block(block).select(names)

    def schema(self, block: int) -> pl.Schema:
        """The columns of a block's rows. Raises UsageError as ``rows`` does."""
        commit = self._commits.get(block)
        if commit is not None:
            return pl.Schema(pl.read_parquet_schema(self._columns / commit.path))
        if self._in_place is None:
            self._in_place = _InPlace(_spec_of(self._build))
        return self._in_place.block(block).schema


class _InPlace:
    """Blocks of a pool's own files."""

    def __init__(self, spec: PoolSpec) -> None:
        self._spec = spec
        try:
            self._segments = plan_segments(spec)
        except PoolError as error:
            raise UsageError(f"the pool of this selection: {error}") from error
        self._firsts = [block_number(segment.file, segment.first_block) for segment in self._segments]
        self._index = self._next = -1
        self._frames: Iterator[pl.DataFrame] = iter(())
        self._held = pl.DataFrame()

    def block(self, number: int) -> pl.DataFrame:
        """The rows of a block."""
        if number == self._next - 1:
            return self._held
        index = bisect_right(self._firsts, number) - 1
        if index != self._index or number < self._next:
            self._index, self._next = index, self._firsts[index]
            self._frames = self._read(self._segments[index])
        while self._next <= number:
            held = next(self._frames, None)
            if held is None:
                raise UsageError(f"{self._spec.path}: has fewer rows than when it was selected in; it was changed")
            self._held, self._next = held, self._next + 1
        return self._held

    def _read(self, segment: Segment) -> Iterator[pl.DataFrame]:
        try:
            yield from read_segment(self._spec, segment)
        except PoolError as error:
            raise UsageError(str(error)) from error


def _spec_of(build: Path) -> PoolSpec:
    """How the pool of a selection is read, as the selection noted it."""
    errors: list[str] = []
    try:
        values = json.loads(fresh(build / MARK).read_text(encoding="utf-8"))["pool"]
        spec = read_section(PoolSpec, values, "pool", errors)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{build}: the work folder has no rows of the pool; was it cleaned up?") from error
    if spec is None:
        raise UsageError(f"{build / MARK}: {'; '.join(errors)}")
    return spec
