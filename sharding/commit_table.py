"""The commits of a step by block, in memory: objects where they are few, columns where they are many.

An object of a commit takes over a kilobyte, a row of columns a tenth of it. A pool of billions of rows has a million
blocks, and every worker looks at the commits of every step.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from pairmill.sharding.commit_log import Commit

#: Above this the columns are kept as they are; a look into them takes some microseconds more.
MOST_OBJECTS = 100_000


def by_block(table: pl.DataFrame, most_objects: int = MOST_OBJECTS) -> Mapping[int, list[Commit]]:
    """Block → its parts in order, of what ``CommitLog.table`` gives."""
    if table.height > most_objects:
        return CommitTable(table)
    found: dict[int, list[Commit]] = defaultdict(list)
    for row in table.iter_rows():
        found[row[0]].append(_commit(row))
    return dict(found)


class CommitTable(Mapping[int, list[Commit]]):
    """Block → its parts in order, from columns that are sorted by block and part."""

    def __init__(self, table: pl.DataFrame) -> None:
        self._table = table
        self._blocks = table.get_column("block").to_numpy()

    def __getitem__(self, block: int) -> list[Commit]:
        start, stop = self._places(block)
        if start == stop:
            raise KeyError(block)
        return [_commit(self._table.row(place)) for place in range(start, stop)]

    def __contains__(self, block: object) -> bool:
        start, stop = self._places(block)
        return start < stop

    def __iter__(self) -> Iterator[int]:
        return iter(np.unique(self._blocks).tolist())

    def __len__(self) -> int:
        return len(np.unique(self._blocks))

    def _places(self, block: object) -> tuple[int, int]:
        start, stop = (int(np.searchsorted(self._blocks, block, side=side)) for side in ("left", "right"))  # type: ignore[call-overload]
        return start, stop


def _commit(row: tuple) -> Commit:
    block, part, path, group, rows, seconds, counts, digest = row
    return Commit(block, part, path, group, rows, seconds, json.loads(counts), digest)
