"""The embedded pool: drawn pictures with true captions, and among them the faults of the real web, planted."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pyarrow.parquet as pq

from pairmill.pipeline.demo.evaluation import EVALUATION_FOLDER, write_evaluation_set
from pairmill.pipeline.demo.pool_rows import Pool
from pairmill.pipeline.demo.writing import write_files, write_table

POOL_FILE = "pool.parquet"
#: Beside a pool of files, the table that says what was planted: what its folder cannot say.
TRUTH_FILE = "truth.parquet"
PAIRS_FOLDER = "pairs"


def write_demo_pool(
    folder: Path, base_url: str, rows: int = 1000, seed: int = 0, evaluation: int = 100, workers: int = 1
) -> Path:
    """Write the table of a pool of ``rows`` pairs, and the evaluation set beside it; returns the parquet file.

    Its pictures are drawn when ``server.serve_folder``, at ``base_url``, is asked for them. Columns are those of
    ``pool_rows.POOL_SCHEMA``. The same arguments give the same bytes. Raises ValueError for fewer than 100 rows, and
    FileExistsError when ``folder`` holds a pool already.
    """
    pool = Pool(rows, seed, base_url, evaluation)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / POOL_FILE
    if path.exists():
        raise FileExistsError(f"there is a pool at {path}")
    write_evaluation_set(folder / EVALUATION_FOLDER, seed, evaluation)
    write_table(pool, path, workers)
    return path


def write_file_pool(folder: Path, rows: int = 1000, seed: int = 0, evaluation: int = 100, workers: int = 1) -> Path:
    """Write a pool of image and text files to ``folder/pairs``, its truth and the evaluation set beside it.

    Returns ``folder/pairs``. What only a web server can do is not planted. Raises as ``write_demo_pool`` does.
    """
    pool = Pool(rows, seed, None, evaluation)
    folder.mkdir(parents=True, exist_ok=True)
    write_files(pool, folder / PAIRS_FOLDER, folder / TRUTH_FILE, workers)
    write_evaluation_set(folder / EVALUATION_FOLDER, seed, evaluation)
    return folder / PAIRS_FOLDER


def pool_port(folder: Path) -> int:
    """The port in the URLs of the pool in ``folder``, to serve it there again; 0 where there is no pool."""
    if not (folder / POOL_FILE).is_file():
        return 0
    first = next(pq.ParquetFile(folder / POOL_FILE).iter_batches(1000, columns=["url", "planted"]))
    return urlsplit(str(pl.DataFrame(first).filter(planted="")["url"][0])).port or 0


def truth_of_pool(path: Path) -> pl.DataFrame:
    """What ``truth_table`` wants to know of a pool: row (its number in pool order), planted, expect and wanted.

    A pool that does not say what is wanted wants what it expects.
    """
    known = pl.read_parquet_schema(path)
    wanted = pl.col("wanted" if "wanted" in known else "expect").alias("wanted")
    return pl.scan_parquet(path).select("planted", "expect", wanted).collect().with_row_index("row")
