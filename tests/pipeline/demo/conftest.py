"""One small demo pool, written and served once for all tests of the drawn world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from pairmill.pipeline.demo.pool import write_demo_pool
from pairmill.pipeline.demo.server import serve_folder


@dataclass(frozen=True)
class DemoPool:
    folder: Path
    base_url: str
    path: Path
    rows: pl.DataFrame

    def of_kind(self, planted: str) -> pl.DataFrame:
        return self.rows.filter(pl.col("planted") == planted)


@pytest.fixture(scope="session")
def demo_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoPool]:
    folder = tmp_path_factory.mktemp("demo")
    with serve_folder(folder) as base_url:
        path = write_demo_pool(folder, base_url, rows=200, seed=3, evaluation=20)
        yield DemoPool(folder, base_url, path, pl.read_parquet(path).with_row_index("row"))
