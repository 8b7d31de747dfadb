"""``pairmill demo``: the main job on a pool that pairmill draws and serves itself."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from pairmill.pipeline.demo.pool import POOL_FILE, pool_port, truth_of_pool, write_demo_pool
from pairmill.pipeline.demo.server import serve_folder
from pairmill.pipeline.demo.translations import translation_counts
from pairmill.pipeline.demo.truth import caption_counts, similarity_counts, truth_table
from pairmill.runners.run_command import run_recipe
from pairmill.runners.runner_choice import RunnerChoice


def run_demo(out: Path, rows: int, workers: int) -> int:
    """Draw (or find) the pool in ``BUILD/pool``, run the demo recipe on it, and print what became of the planted."""
    pool = out / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    with serve_folder(pool, pool_port(pool)) as base_url:
        if not (pool / POOL_FILE).is_file():
            print(f"writing a pool of {rows} pairs to {pool}")
            write_demo_pool(pool, base_url, rows)
        host = urlsplit(base_url).hostname
        code = run_recipe(
            "demo",
            out,
            pool=str(pool / POOL_FILE),
            settings=(f"fetch.allow_hosts=['{host}']",),
            runner=RunnerChoice(workers=workers),
        )
    truth, ledger = truth_of_pool(pool / POOL_FILE), ledger_rows(out)
    print_truth(truth_table(truth, ledger))
    print(similarity_counts(truth, ledger).told())
    pairs = pl.read_parquet(out / "dataset" / "metadata" / "*.parquet")
    print(caption_counts(pairs, "caption").told("the pairs' own captions that are kept"))
    print(caption_counts(pairs, "caption_short").told("what the captioner wrote beside them"))
    print(translation_counts(pairs, ("de", "fr", "es")).told())
    return code


def ledger_rows(build: Path) -> pl.DataFrame:
    """The ledger in pool order: row (number in the pool) and reason, null where it is kept."""
    files = sorted((build / "ledger").glob("*.parquet"))
    return pl.concat([pl.read_parquet(file, columns=["reason"]) for file in files]).with_row_index("row")


def print_truth(table: pl.DataFrame) -> None:
    """What was planted against what was found; and what a fuller recipe would find, where that is more."""
    shown = Table(title="What was planted, and what became of it", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    names = ["planted", "rows", "expected", "as expected", "otherwise", "a full recipe"]
    if table["otherwise"].sum() == 0:
        names.remove("otherwise")
    for name in names:
        shown.add_column(name, justify="right" if name in ("rows", "as expected") else "left")
    for row in table.iter_rows(named=True):
        told = {
            "planted": row["planted"] or "(good pairs)",
            "rows": str(row["rows"]),
            "expected": row["expect"],
            "as expected": str(row["as_expected"]),
            "otherwise": row["instead"],
            "a full recipe": row["wanted"] if row["wanted"] != row["expect"] else "",
        }
        shown.add_row(*(told[name] for name in names))
    Console().print(shown)
