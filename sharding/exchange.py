"""Moving narrow rows between lanes through files, so that a global step holds one partition in memory and no more.

A lane writes Arrow files with a record batch for each partition; a partition is the same batch of every lane's files.
Beam carries the paths. (On its local runner a shuffle of the rows themselves is held in memory, at about five times
their size.) Files are temporary: they belong to one attempt at a build, and a lost one is written again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.mirror import fetched, fetched_all, settle

#: Rows that a lane holds before it writes them out: what bounds its memory, whatever its length.
ROWS_PER_FILE = 250_000
#: But at least so many for each partition: batches of fewer rows are mostly headers and seeks.
ROWS_PER_BATCH = 1_000


class BatchWriter:
    """Writes frames of one schema as the record batches of one Arrow file, which appears when the block ends well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._attempt = attempt_path(path)
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        """Append one batch; an empty frame is a batch too."""
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(str(self._attempt), table.schema, options=options)
        # Not table.to_batches(): it gives none for an empty table, and an Enum must keep its words in every batch.
        columns = [column.combine_chunks() for column in table.columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=table.schema))

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.close()
        if error is None:
            settle(self._attempt, self._path)
        else:
            self._attempt.unlink(missing_ok=True)


class PartitionWriter:
    """Sends rows to partitions: gathers frames of one schema, and writes a file of them whenever they are many.

    Files are named ``NUMBER-0000.arrow`` and on in ``folder``. Add at least one frame, an empty one if need be: readers
    take the schema from the files.
    """

    def __init__(self, folder: Path, number: int, partitions: int, rows_per_file: int | None = None) -> None:
        self._folder, self._number, self._partitions = folder, number, partitions
        self._limit = rows_per_file or max(ROWS_PER_FILE, partitions * ROWS_PER_BATCH)
        self._frames: list[pl.DataFrame] = []
        self._targets: list[npt.NDArray[np.int64]] = []
        self._rows = 0
        self._files = 0

    def add(self, frame: pl.DataFrame, partition: npt.NDArray[np.integer]) -> None:
        """Send row i of ``frame`` to ``partition[i]``."""
        self._frames.append(frame)
        self._targets.append(partition.astype(np.int64))
        self._rows += frame.height
        if self._rows >= self._limit:
            self._flush()

    def __enter__(self) -> PartitionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._frames:
            self._flush()

    def _flush(self) -> None:
        path = self._folder / f"{self._number:06d}-{self._files:04d}.arrow"
        write_partitions(path, pl.concat(self._frames), np.concatenate(self._targets), self._partitions)
        self._frames, self._targets, self._rows = [], [], 0
        self._files += 1


def write_partitions(path: Path, frame: pl.DataFrame, partition: npt.NDArray[np.integer], partitions: int) -> None:
    """Write the rows of ``frame`` to ``path``, row i in batch ``partition[i]`` of ``partitions``, their order kept."""
    order = np.argsort(partition, kind="stable")
    bounds = np.searchsorted(partition[order], np.arange(partitions + 1))
    sorted_frame = frame[order]
    with BatchWriter(path) as writer:
        for start, stop in pairwise(bounds):
            writer.write(sorted_frame[int(start) : int(stop)])


def read_batch(path: Path, batch: int) -> pl.DataFrame:
    """One record batch of an Arrow file."""
    # Not mapped into memory: what is mapped counts as this process's own where memory is limited.
    with pa.OSFile(str(fetched(path))) as source:
        frame = pl.from_arrow(pa.Table.from_batches([pa.ipc.open_file(source).get_batch(batch)]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Every record batch of an Arrow file, in order, with these columns alone."""
    with pa.OSFile(str(fetched(path))) as source:
        fields = [pa.ipc.open_file(source).schema.get_field_index(name) for name in columns]
        file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
        for batch in range(file.num_record_batches):
            frame = pl.from_arrow(pa.Table.from_batches([file.get_batch(batch)]))
            assert isinstance(frame, pl.DataFrame)
            yield frame.select(columns)


def read_partition(paths: Sequence[Path], partition: int) -> pl.DataFrame:
    """Batch ``partition`` of every file, one after another in the order of their names."""
    frames = [read_batch(path, partition) for path in fetched_all(sorted(paths))]
    return pl.concat(frames) if frames else pl.DataFrame()


def read_all(paths: Sequence[Path]) -> pl.DataFrame:
    """Every batch of every file, one after another in the order of their names."""
    frames = []
    for path in fetched_all(sorted(paths)):
        with pa.OSFile(str(fetched(path))) as source:
            batches = pa.ipc.open_file(source).num_record_batches
        frames += [read_batch(path, batch) for batch in range(batches)]
    return pl.concat(frames) if frames else pl.DataFrame()
