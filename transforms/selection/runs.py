"""Sorted runs on disk: what a lane knows of its rows' places, and the exact k-th place over all runs.

A run is an Arrow file of four uint64 columns, ``group`` and those of PLACE, sorted by them. Runs are mapped, not read:
finding the k-th of 128 million rows looks at some thousand of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairmill.sharding.column_files import attempt_path
from pairmill.transforms.selection.order import PLACE

COLUMNS = ("group", *PLACE)
#: Rows that a lane sorts at once (32 bytes each, and as much again while they are sorted).
ROWS_PER_RUN = 2_000_000
_MOST = (1 << 64) - 1

Array = npt.NDArray[np.uint64]


class RunWriter:
    """Gathers rows and writes them as sorted runs ``FOLDER/LANE-NUMBER.arrow``; use it as a context."""

    def __init__(self, folder: Path, lane: int, rows_per_run: int = ROWS_PER_RUN) -> None:
        self._folder, self._lane, self._limit = folder, lane, rows_per_run
        self._held: list[pl.DataFrame] = []
        self._rows = self._written = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, rows: pl.DataFrame) -> None:
        """Keep rows with the columns of COLUMNS."""
        self._held.append(rows.select(COLUMNS))
        self._rows += rows.height
        if self._rows >= self._limit:
            self._write()

    def _write(self) -> None:
        if not self._rows:
            return
        table = pl.concat(self._held).sort(COLUMNS).rechunk().to_arrow()
        path = self._folder / f"{self._lane:06d}-{self._written:04d}.arrow"
        attempt = attempt_path(path)
        with pa.OSFile(str(attempt), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks(), max_chunksize=max(1, table.num_rows))
        attempt.replace(path)
        self._held, self._rows = [], 0
        self._written += 1

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write()


def open_runs(folder: Path) -> list[tuple[Array, ...]]:
    """The columns of every run in a folder, mapped from disk."""
    runs = []
    for path in sorted(folder.glob("*.arrow")):
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        runs.append(tuple(batch.column(name).to_numpy(zero_copy_only=True) for name in COLUMNS))
    return runs


def groups_of(runs: Sequence[tuple[Array, ...]]) -> dict[int, list[tuple[Array, ...]]]:
    """The part of each run that belongs to each group: group → slices of the PLACE columns, groups in order."""
    found: dict[int, list[tuple[Array, ...]]] = {}
    for group, *place in runs:
        start = 0
        while start < len(group):
            number = group[start]
            stop = int(np.searchsorted(group, number, side="right"))
            found.setdefault(int(number), []).append(tuple(column[start:stop] for column in place))
            start = stop
    return dict(sorted(found.items()))


def kth_place(parts: Sequence[tuple[Array, ...]], k: int) -> tuple[int, ...]:
    """The place of the ``k``-th row (from 1) in the order of all parts together; parts are sorted column tuples.

    Each column is settled by bisection over its 64 bits, then the next among the rows that are equal so far. Raises
    ValueError unless 1 <= k <= the number of rows.
    """
    rows = sum(len(part[0]) for part in parts)
    if not 1 <= k <= rows:
        raise ValueError(f"there is no row {k} among {rows}")
    place = []
    spans = [(0, len(part[0])) for part in parts]
    for level in range(len(parts[0])):
        columns = [part[level][start:stop] for part, (start, stop) in zip(parts, spans, strict=True)]
        value = _kth_value(columns, k)
        place.append(value)
        bound = np.uint64(value)
        firsts = [int(np.searchsorted(column, bound, side="left")) for column in columns]
        lasts = [int(np.searchsorted(column, bound, side="right")) for column in columns]
        spans = [(start + a, start + b) for (start, _), a, b in zip(spans, firsts, lasts, strict=True)]
        k -= sum(firsts)
    return tuple(place)


def _kth_value(columns: Sequence[Array], k: int) -> int:
    low, high = 0, _MOST
    while low < high:
        middle = (low + high) // 2
        bound = np.uint64(middle)
        if sum(int(np.searchsorted(column, bound, side="right")) for column in columns) >= k:
            high = middle
        else:
            low = middle + 1
    return low
