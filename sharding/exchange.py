"""Moving narrow rows between lanes through files, so that a global step holds one partition in memory and no more.

A lane writes one Arrow file with a record batch for each partition; a partition is the same batch of every lane's
file. Beam carries the paths. (On its local runner a shuffle of the rows themselves is held in memory, at about five
times their size.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairmill.sharding.column_files import attempt_path


def write_partitions(path: Path, frame: pl.DataFrame, partition: npt.NDArray[np.integer], partitions: int) -> None:
    """Write the rows of ``frame`` to ``path``, row i in batch ``partition[i]`` of ``partitions``, their order kept."""
    order = np.argsort(partition, kind="stable")
    bounds = np.searchsorted(partition[order], np.arange(partitions + 1))
    sorted_frame = frame[order]
    write_batches(path, [sorted_frame[int(a) : int(b)] for a, b in pairwise(bounds)])


def write_batches(path: Path, frames: Sequence[pl.DataFrame]) -> None:
    """Write each frame as one record batch of an Arrow file; all frames have the schema of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    tables = [frame.to_arrow(compat_level=pl.CompatLevel.oldest()) for frame in frames]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(attempt), "wb") as sink, pa.ipc.new_file(sink, tables[0].schema, options=options) as writer:
        for table in tables:
            batches = table.combine_chunks().to_batches()
            writer.write_batch(batches[0] if batches else _empty_batch(table.schema))
    attempt.replace(path)  # a temporary file of one run: lost with the machine, it is written again


def read_batch(path: Path, batch: int) -> pl.DataFrame:
    """One record batch of an Arrow file that ``write_batches`` made."""
    with pa.memory_map(str(path)) as source:
        return _frame(pa.ipc.open_file(source).get_batch(batch))


def read_partition(paths: Sequence[Path], partition: int) -> pl.DataFrame:
    """Batch ``partition`` of every file, one after another in the order of their names."""
    frames = [read_batch(path, partition) for path in sorted(paths)]
    return pl.concat(frames) if frames else pl.DataFrame()


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches([batch]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], type=f.type) for f in schema], schema=schema)
