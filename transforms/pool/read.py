"""A segment of the pool as canonical blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import polars as pl

from pairmill.transforms.pool.delimited import delimited_frames
from pairmill.transforms.pool.documents import document_keys, document_records
from pairmill.transforms.pool.folders import folder_records
from pairmill.transforms.pool.parquet import parquet_frames
from pairmill.transforms.pool.plan import Segment, dialect_of, documents_of, pool_folder
from pairmill.transforms.pool.records import Record, json_records, jsonl_records, records_frame
from pairmill.transforms.pool.rows import finish_block, fit_columns, reblock, text_series
from pairmill.transforms.pool.schema import ARTEFACTS, preset_of
from pairmill.transforms.pool.spec import PoolError, PoolSpec
from pairmill.transforms.pool.tars import TAR_DROPPED, tar_records


def read_segment(spec: PoolSpec, segment: Segment) -> Iterator[pl.DataFrame]:
    """The segment's rows as blocks of exactly ``block_rows`` rows, the last as short as it comes; none is empty.

    Every block of a pool has the columns of ``block_schema``: POOL_COLUMNS, ``row_error``, ``other_fields``, then the
    pool's further columns. A row that cannot be used stays a row, with the reason in ``row_error`` (ROW_ERRORS), so
    the number of rows never depends on their quality. Where ``path`` is not null the image lies on disk, also when a
    ``url`` tells where it came from. Captions are as the pool has them, line breaks and nulls too.

    About one block of rows is held at a time (a whole file for the format json). Raises PoolError when the file
    cannot be read to its end, since nobody could say how many rows are missing.
    """
    where = f"{segment.path}/{segment.first_block}"
    for number, raw in enumerate(reblock(_frames(spec, segment), spec.block_rows)):
        if number >= segment.block_limit:
            raise PoolError(f"{segment.path}: has more than {number} blocks; use a larger block_rows")
        yield finish_block(raw, segment.columns, where, number * spec.block_rows)


def _frames(spec: PoolSpec, segment: Segment) -> Iterator[pl.DataFrame]:
    """The segment's rows as frames of our columns, of at most ``block_rows`` rows."""
    path, rows = pool_folder(spec) / segment.path, spec.block_rows
    if segment.format == "parquet":
        sources = list(dict.fromkeys(s for c in segment.columns for s in c.sources))
        for frame in parquet_frames(path, segment.start, segment.stop, sources, rows):
            yield fit_columns(frame, segment.columns)
    elif segment.format in ("csv", "tsv"):
        for frame, errors in delimited_frames(
            path, segment.header, segment.skip, dialect_of(spec, segment.format), rows
        ):
            yield fit_columns(frame, segment.columns).with_columns(text_series("row_error", errors))
    else:
        drop = frozenset((*preset_of(spec).drop, *ARTEFACTS)) | (TAR_DROPPED if segment.format == "tars" else set())
        records = _records(spec, segment)
        while chunk := list(islice(records, rows)):
            yield records_frame(chunk, segment.columns, drop, leftovers=spec.keep_columns == "all")


def _records(spec: PoolSpec, segment: Segment) -> Iterator[Record]:
    root = pool_folder(spec)
    path = root / segment.path
    if segment.format == "files":
        found: Iterable[Record] = folder_records(root, segment.first, segment.last)
    elif segment.format == "tars":
        found = tar_records(path, segment.path)
    elif segment.format == "json":
        found = json_records(path)
    elif segment.format == "documents":
        keys, _ = document_keys(spec)
        documents = documents_of(path, segment.start, segment.stop or None)
        found = document_records(documents, keys, segment.path, segment.first_row)
    else:
        found = jsonl_records(path)
    return iter(found)
