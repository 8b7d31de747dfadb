"""Pools of any size on disk: a table written piece by piece, and a folder of pictures with their captions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pairmill.pipeline.demo.forms import picture_file
from pairmill.pipeline.demo.pool_rows import POOL_SCHEMA, Pool

#: Rows made at a time, and the size of a row group: what bounds memory, whatever the pool's size.
PIECE_ROWS = 20_000
_FILE_PIECE_ROWS = 500


def write_table(pool: Pool, path: Path, workers: int = 1) -> None:
    """Write the rows of a pool to a parquet file, its row groups in pool order.

    The same pool gives the same bytes for any number of ``workers`` (processes). A file that is there is replaced
    when all rows are written.
    """
    _write(path, _pieces(pool, PIECE_ROWS, workers, _table))


def write_files(pool: Pool, folder: Path, truth: Path, workers: int = 1) -> None:
    """Write each pair of a pool of files as ``FOLDER/00000/00000000.jpg`` and ``.txt``, and the truth as a table.

    A null caption has no text file. Raises FileExistsError where ``folder`` is.
    """
    folder.mkdir()
    _write(truth, _pieces(pool, _FILE_PIECE_ROWS, workers, _files, folder))


def _write(path: Path, tables: Iterable[pa.Table]) -> None:
    """A parquet file of the tables, one row group each, under its name when it is whole."""
    part = path.with_name(f"{path.name}.part")
    with pq.ParquetWriter(part, POOL_SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    part.replace(path)


def _table(pool: Pool, start: int, stop: int) -> pa.Table:
    return pool.table(start, stop)


def _files(pool: Pool, start: int, stop: int, folder: Path) -> pa.Table:
    """Write the pairs of some rows and return their truth."""
    table = pool.table(start, stop)
    for pair, path in zip(pool.pairs(start, stop), table["path"].to_pylist(), strict=True):
        place = folder / path
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(picture_file(pool.seed, pair.form, pair.number))
        if pair.caption is not None:
            place.with_suffix(".txt").write_text(pair.caption + "\n", encoding="utf-8")
    return table


def _pieces(pool: Pool, size: int, workers: int, make: Callable[..., pa.Table], *more: Path) -> Iterator[pa.Table]:
    """The pool piece by piece, in order; with several processes, a few pieces are made ahead."""
    spans = ((start, min(start + size, pool.rows)) for start in range(0, pool.rows, size))
    if workers <= 1:
        yield from (make(pool, *span, *more) for span in spans)
        return
    # Fresh processes: a fork of one that has threads may never wake up.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        ahead: deque[Future[pa.Table]] = deque()
        for span in spans:
            ahead.append(processes.submit(make, pool, *span, *more))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
