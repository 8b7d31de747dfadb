"""Columns of numbers of one length in a file that is mapped and not read: what a task leaves for the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.mirror import fetched, settle


def write_arrays(path: Path, **columns: npt.NDArray[Any]) -> None:
    """Write named arrays of numbers, all of one length; the file appears whole or not at all. No sync."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [pa.array(np.ascontiguousarray(column)) for column in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    attempt = attempt_path(path)
    with pa.OSFile(str(attempt), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    settle(attempt, path)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file by name, mapped: only what is looked at is read, and they cannot be written to."""
    with pa.ipc.open_file(pa.memory_map(str(fetched(path)))) as file:
        batch = file.get_batch(0)
    return {
        name: column.to_numpy(zero_copy_only=True)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
