"""The distinct captions of a pool on disk, to be looked at here and there: files mapped from disk, not read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.mirror import fetched, settle

_PLACE_BITS = np.uint64(40)

_Ids = npt.NDArray[np.uint64]


class CaptionStore:
    """Frames of one schema, one a partition; a row is known by its id: partition and place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, partition: int, frame: pl.DataFrame) -> _Ids:
        """Write the rows of a partition, and return their ids."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(partition)
        attempt = attempt_path(path)
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        with pa.OSFile(str(attempt), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(1, table.num_rows))
        settle(attempt, path)
        return (np.uint64(partition) << _PLACE_BITS) | np.arange(frame.height, dtype=np.uint64)

    def take(self, ids: _Ids, columns: list[str] | None = None) -> pl.DataFrame:
        """Some rows, in the order of their ids as given; needs one id at least."""
        partitions = (ids >> _PLACE_BITS).astype(np.int64)
        places = (ids & ((np.uint64(1) << _PLACE_BITS) - np.uint64(1))).astype(np.int64)
        order = np.argsort(partitions, kind="stable")
        found: list[pl.DataFrame] = []
        for partition in np.unique(partitions):
            table = _mapped(self._path(int(partition)))
            mine = places[order[partitions[order] == partition]]
            taken = pl.from_arrow((table if columns is None else table.select(columns)).take(mine))
            assert isinstance(taken, pl.DataFrame)
            found.append(taken)
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return pl.concat(found)[back]

    def _path(self, partition: int) -> Path:
        return self._folder / f"{partition:06d}.arrow"


@lru_cache(maxsize=1024)
def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(fetched(path)))).read_all()
