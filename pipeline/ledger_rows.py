"""The ledger of a build beside what its pool says of the rows: streamed, a few blocks at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from pairmill.pipeline.pool_blocks import PoolBlocks
from pairmill.sharding.errors import UsageError
from pairmill.sharding.mirror import fetched_all, fresh, listed, shown

LEDGER_COLUMNS = ("block", "row", "kept", "stage", "reason")


@dataclass(frozen=True)
class LedgerOfBuild:
    """A ledger and the pool behind it."""

    build: Path
    files: tuple[Path, ...]
    blocks: PoolBlocks

    @property
    def rows(self) -> int:
        """The rows of the ledger, which are those of the pool."""
        return sum(pq.read_metadata(file).num_rows for file in self.files)

    def frames(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """LEDGER_COLUMNS and the named columns of the pool, a row group of the ledger at a time, in pool order."""
        for file in self.files:
            with pq.ParquetFile(file) as opened:
                for group in range(opened.num_row_groups):
                    frame = pl.from_arrow(opened.read_row_group(group, columns=list(LEDGER_COLUMNS)))
                    assert isinstance(frame, pl.DataFrame)
                    yield frame.hstack(self._pool(frame, names).get_columns())

    def _pool(self, frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        parts = [pl.DataFrame(schema=dict.fromkeys(names, pl.String))]
        for (block,), rows in frame.partition_by("block", as_dict=True, maintain_order=True).items():
            parts.append(self.blocks.rows(int(block), names)[rows.get_column("row")])
        return pl.concat(parts)


def read_build_record(build: Path) -> dict[str, Any]:
    """``build.json`` of a build folder. Raises UsageError where there is none."""
    try:
        return dict(json.loads(fresh(build / "build.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{shown(build)} is no build folder (it has no readable build.json)") from error


def open_ledger(build: Path) -> LedgerOfBuild:
    """The ledger of a build. Raises UsageError for a folder that has none."""
    record = read_build_record(build)
    files = fetched_all(listed(build / "ledger", "*.parquet"))
    if not files:
        raise UsageError(f"{build} has no ledger yet; pairmill status {build} tells how far it is")
    return LedgerOfBuild(build, tuple(files), PoolBlocks(build, record))
