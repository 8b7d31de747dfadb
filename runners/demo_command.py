"""``pairmill demo``: the main job on a pool that pairmill draws and serves itself."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
from rich.console import Console
from rich.table import Table

from pairmill.pipeline.demo.pool import POOL_FILE, pool_port, truth_of_pool, write_demo_pool
from pairmill.pipeline.demo.server import serve_folder
from pairmill.pipeline.demo.truth import truth_table
from pairmill.runners.run_command import run_recipe


def run_demo(out: Path, rows: int, workers: int) -> int:
    """Draw (or find) the pool in ``BUILD/pool``, run the demo recipe on it, and print what became of the planted."""
    pool = out / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    with serve_folder(pool, pool_port(pool)) as base_url:
        if not (pool / POOL_FILE).is_file():
            print(f"drawing {rows} pairs into {pool}")
            write_demo_pool(pool, base_url, rows)
        host = urlsplit(base_url).hostname
        code = run_recipe(
            "demo",
            out,
            pool=str(pool / POOL_FILE),
            settings=(f"fetch.allow_hosts=['{host}']",),
            workers=workers,
        )
    print_truth(truth_table(truth_of_pool(pool / POOL_FILE), ledger_rows(out)))
    return code


def ledger_rows(build: Path) -> pl.DataFrame:
    """The ledger in pool order: row (number in the pool) and reason, null where it is kept."""
    files = sorted((build / "ledger").glob("*.parquet"))
    return pl.concat([pl.read_parquet(file, columns=["reason"]) for file in files]).with_row_index("row")


def print_truth(table: pl.DataFrame) -> None:
    """What was planted against what was found."""
    shown = Table(title="What was planted, and what became of it")
    for name in ("planted", "expected", "rows", "as expected", "otherwise"):
        shown.add_column(name)
    for planted, expect, rows, right, _wrong, instead in table.iter_rows():
        shown.add_row(planted or "(good pairs)", expect, str(rows), str(right), instead)
    Console().print(shown)
