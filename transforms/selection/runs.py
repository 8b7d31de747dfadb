"""The places of a lane's rows on disk, in any order: Arrow files that are mapped and not read.

A run is an Arrow file of four uint64 columns, ``group`` and those of PLACE.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.mirror import fetched, listed, settle
from pairmill.transforms.selection.kth import Array, Part
from pairmill.transforms.selection.order import PLACE

COLUMNS = ("group", *PLACE)
#: Rows of one run, 32 bytes each.
ROWS_PER_RUN = 2_000_000


class RunWriter:
    """Gathers rows and writes them as runs ``FOLDER/LANE-NUMBER.arrow``; use it as a context."""

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
        table = pl.concat(self._held).rechunk().to_arrow()
        path = self._folder / f"{self._lane:06d}-{self._written:04d}.arrow"
        attempt = attempt_path(path)
        with pa.OSFile(str(attempt), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks(), max_chunksize=max(1, table.num_rows))
        settle(attempt, path)
        self._held, self._rows = [], 0
        self._written += 1

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write()


def read_runs(folder: Path) -> Iterator[Part]:
    """Every run of a folder, mapped from disk."""
    for path in listed(folder, "*.arrow"):
        batch = pa.ipc.open_file(pa.memory_map(str(fetched(path)))).get_batch(0)
        group, key, high, low = (batch.column(name).to_numpy(zero_copy_only=True) for name in COLUMNS)
        yield Part(group, key, partial(_both, high, low))


def _both(high: Array, low: Array, rows: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    return high[rows], low[rows]
