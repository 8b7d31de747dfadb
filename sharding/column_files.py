"""Column files: parquet with one row group a block, and the two ways in which a file gets its final name."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pairmill.sharding.mirror import settle, settle_once
from pairmill.sharding.network_mount import refresh_folder
from pairmill.sharding.publish import TEMPORARY_MARK, sync_folder

COMPRESSION = "zstd"


def attempt_path(path: Path) -> Path:
    """A name beside ``path`` that no other attempt uses and that no reader takes for a finished file."""
    return path.with_name(f"{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish_once(attempt: Path, final: Path) -> bool:
    """Give ``attempt`` its final name unless somebody else was first; the attempt's own name is gone afterwards.

    Returns True when this attempt is the one that counts. A hard link is the test-and-set: unlike a rename it fails
    where the name exists. In a store it is a conditional put, and the winner's file is here when this returns.
    """
    won = settle_once(attempt, final)
    if won is not None:
        return won
    sync_file(attempt)
    try:
        os.link(attempt, final)
    except OSError as error:
        # A server whose answer was lost is asked again, and then finds the link that it made itself.
        if not _is_link_of(attempt, final):
            if isinstance(error, FileExistsError):
                refresh_folder(final.parent)
                return False
            raise
    finally:
        attempt.unlink(missing_ok=True)
    sync_folder(final.parent)
    return True


def _is_link_of(attempt: Path, final: Path) -> bool:
    try:
        return os.stat(attempt).st_nlink > 1 and os.path.samefile(attempt, final)
    except FileNotFoundError:
        return False


def replace_file(attempt: Path, final: Path) -> None:
    """Give ``attempt`` its final name, in place of what stood there: for files whose content never differs."""
    sync_file(attempt)
    settle(attempt, final)
    sync_folder(final.parent)


def write_row_groups(
    path: Path, frames: Iterable[pl.DataFrame], told: Mapping[str, Mapping[str, str]] | None = None
) -> list[int]:
    """Write each frame as one row group of a parquet file and return their row counts; an empty frame is a group too.

    All frames have the schema of the first. ``told``: column → what its field's metadata say of it. No sync and no
    rename: see ``publish_once`` and ``replace_file``.
    """
    counts: list[int] = []
    writer: pq.ParquetWriter | None = None
    try:
        for frame in frames:
            # Arrow's string view types are newer than many parquet readers.
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if told:
                table = table.cast(pa.schema([field.with_metadata(told.get(field.name)) for field in table.schema]))
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression=COMPRESSION, write_page_index=False)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            counts.append(table.num_rows)
    finally:
        if writer is not None:
            writer.close()
    return counts


def read_row_groups(path: Path, groups: Sequence[int], columns: Sequence[str] | None = None) -> list[pl.DataFrame]:
    """Read the named row groups, one frame each; ``columns`` None reads all, absent names are left out."""
    with pq.ParquetFile(path) as file:
        present = set(file.schema_arrow.names)
        wanted = None if columns is None else [name for name in columns if name in present]
        # One read for all: a row group of a few rows costs as much as one of ten thousand.
        frame = pl.from_arrow(file.read_row_groups(list(groups), columns=wanted))
        assert isinstance(frame, pl.DataFrame)
        ends = list(accumulate(file.metadata.row_group(group).num_rows for group in groups))
    return [frame[start:end] for start, end in pairwise([0, *ends])]


def row_counts(path: Path) -> list[int]:
    """The rows of every row group; reads the file's footer alone."""
    meta = pq.read_metadata(path)
    return [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
