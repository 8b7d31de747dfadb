"""What a finished build knows of some of its rows, out of the ledger and the columns of its work folder."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from pairmill.filters.verdict import first_reason
from pairmill.pipeline.pool_blocks import PoolBlocks
from pairmill.pipeline.tombstones import tombstone_rules
from pairmill.sharding.commit_log import Commit
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.mirror import open_place
from pairmill.sharding.pair import ROW_BITS, row_ids
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.score_run import NEUTRAL
from pairmill.transforms.spool import is_dropped, spool_reader

#: What of a pool row is told, beside its numbers.
POOL_PART = ("uid", "url", "path", "caption")
FETCHED = {
    "status": pl.String(),
    "status_detail": pl.String(),
    "original_width": pl.Int32(),
    "original_height": pl.Int32(),
    "stored_bytes": pl.Int64(),
    "sha256": pl.String(),
    "spool": pl.String(),
    "spool_offset": pl.Int64(),
}
_SIZES = ("original_width", "original_height")
LANGUAGE = {"lang": pl.String(), "lang_confidence": pl.Float32()}
MAX_POOL_NUMBERS = 12
READ_ROWS = 100_000


class _Step:
    """What one step committed, by the name of its store in ``build.json``."""

    def __init__(self, work: str, name: str) -> None:
        step, _, fingerprint = name.rpartition("-")
        self.store = StepStore(work, step, fingerprint, uuid.uuid4().hex)

    @cached_property
    def commits(self) -> dict[int, list[Commit]]:
        """By block, in the order of their parts."""
        found: dict[int, dict[int, Commit]] = {}
        for commit in self.store.log.read():
            found.setdefault(commit.block, {})[commit.part] = commit
        return {block: [parts[part] for part in sorted(parts)] for block, parts in found.items()}

    @cached_property
    def schema(self) -> pl.Schema:
        """Of any of the files, all of which have a ``row_id``; empty where there is none."""
        for parts in self.commits.values():
            with suppress(OSError):
                self.store.read(parts[:1], ["row_id"])  # the file is at hand then
                return pl.Schema(pl.read_parquet_schema(self.store.columns_folder / parts[0].path))
        return pl.Schema()

    def read(self, blocks: Sequence[int], columns: Sequence[str]) -> list[tuple[list[Commit], pl.DataFrame]]:
        """The columns of the blocks' parts, a file at a time; one that is gone is left out.

        Parts whose images were dropped come last: what was fetched again has a part of its own.
        """
        by_file: dict[tuple[bool, str], list[Commit]] = {}
        for block in blocks:
            for commit in self.commits.get(block, ()):
                by_file.setdefault((is_dropped(commit), commit.path), []).append(commit)
        found: list[tuple[list[Commit], pl.DataFrame]] = []
        for _, commits in sorted(by_file.items(), key=lambda item: item[0]):
            with suppress(OSError):
                found.append((commits, self.store.read(commits, columns)))
        return found


class BuildRows:
    """The rows of a build, whose ``build.json`` is ``record``: the parts of its ledger, and what is known of a row."""

    def __init__(self, build: Path, record: Mapping[str, Any]) -> None:
        work = str(record["work"])
        self.ledger = tuple(sorted((build / "ledger").glob("*.parquet")))
        self._pool = _Step(work, record["pool"])
        self._blocks = PoolBlocks(build, record)
        self._fetch = _Step(work, record["fetch"])
        self._tombstones = tombstone_rules(open_place(work))
        self._image = spool_reader(self._fetch.store)
        self._language = _Step(work, name) if (name := _language_of(work, record)) else None
        self._scores = {name: _Step(work, store) for name, store in dict(record.get("scores", {})).items()}

    @cached_property
    def sizes_of_blocks(self) -> dict[int, int]:
        """Block → its rows. Of a pool that was read in place they are counted in the ledger."""
        if self._pool.commits:
            return {block: parts[0].rows for block, parts in sorted(self._pool.commits.items())}
        sizes: dict[int, int] = {}
        for file in self.ledger:
            counted = pl.read_parquet(file, columns=["block"]).group_by("block").len().sort("block")
            for block, rows in counted.iter_rows():
                sizes[block] = sizes.get(block, 0) + rows
        return sizes

    @cached_property
    def score_columns(self) -> dict[str, tuple[str, ...]]:
        """Scorer → the numbers that it measured, under the recipe's names."""
        return {
            name: tuple(_own_name(column, name) for column, dtype in step.schema.items() if dtype.is_float())
            for name, step in self._scores.items()
        }

    @property
    def number_columns(self) -> list[str]:
        """The fractions that are known of rows: the scores, then what the pool brings."""
        scores = [name for names in self.score_columns.values() for name in names]
        pool = [name for name, dtype in self._pool_columns.items() if dtype.is_float()]
        return scores + [name for name in pool if name not in scores]

    def frames(self) -> Sequence[tuple[Path, int]]:
        """Every part of the ledger: a file and a row group of it, in pool order."""
        return [(file, group) for file in self.ledger for group in range(pq.read_metadata(file).num_row_groups)]

    def known(self, ids: pl.Series) -> pl.DataFrame:
        """Of each row (ascending, each once): POOL_PART and the pool's numbers, LANGUAGE, FETCHED, all scores.

        A row without a fetch of its own has that of another of these rows with the same URL: it is fetched for both.
        What is not there is null: other rows without a fetch, columns of steps that the build does not have,
        files that were removed. A measured column wins over the pool's of the same name; what the pool says of a size
        stands where none was measured. ``removed``: whether the pair was taken down since.

        Blocks of some READ_ROWS rows are in memory at a time.
        """
        rows = ids.alias("row_id").to_frame().with_columns(block=pl.col("row_id") // (1 << ROW_BITS))
        parts = [self._known(rows.clear().drop("block"), [])]
        blocks: list[int] = []
        for block in [*rows.get_column("block").unique().sort().to_list(), None]:
            held = sum(self.sizes_of_blocks.get(each, 0) for each in blocks)
            if blocks and (block is None or held >= READ_ROWS):
                parts.append(self._known(rows.filter(pl.col("block").is_in(blocks)).drop("block"), blocks))
                blocks = []
            if block is not None:
                blocks.append(block)
        known = _with_shared(pl.concat(parts, how="vertical_relaxed"))
        removed = first_reason(self._tombstones, known).is_not_null() if self._tombstones else pl.lit(False)
        return known.with_columns(removed=removed)

    def _known(self, rows: pl.DataFrame, blocks: Sequence[int]) -> pl.DataFrame:
        tables = [self._pool_rows(rows, blocks), self._languages(rows, blocks)]
        tables.append(_joined(rows, [frame for _, frame in self._fetch.read(blocks, ["row_id", *FETCHED])], FETCHED))
        for name, step in self._scores.items():
            own = {column: dtype for column, dtype in step.schema.items() if dtype.is_float()}
            found = [frame for _, frame in step.read(blocks, ["row_id", *own])]
            table = _joined(rows, found, own)
            tables.append(table.rename({column: _own_name(column, name) for column in own}))
        known = rows
        for table in tables:
            told = {name: known.get_column(name) for name in _SIZES if name in known.columns and name in table.columns}
            known = known.drop([name for name in table.columns if name in known.columns]).hstack(table)
            # What the pool says of a picture that was not fetched is all that is known of it.
            known = known.with_columns(pl.coalesce(name, values).alias(name) for name, values in told.items())
        return known

    def image(self, row: Mapping[str, Any]) -> bytes | None:
        """The stored image of a row of ``known``; None where it has none, or its tar is gone."""
        if row["spool_offset"] is None or row["stored_bytes"] is None:
            return None
        try:
            return self._image(row["spool"], row["spool_offset"], row["stored_bytes"])
        except (PairmillError, OSError):
            return None

    @cached_property
    def _pool_columns(self) -> dict[str, Any]:
        """What is read of the pool: POOL_PART, its own sizes and languages, its first fractions."""
        try:
            schema = self._blocks.schema(next(iter(self.sizes_of_blocks)))
        except (UsageError, OSError, StopIteration):
            schema = pl.Schema()
        found: dict[str, Any] = dict.fromkeys(POOL_PART, pl.String())
        found |= {name: schema[name] for name in _SIZES if name in schema and schema[name].is_integer()}
        if self._language is None and schema.get("lang") == pl.String:
            found["lang"] = pl.String()
        numbers = [name for name, dtype in schema.items() if dtype.is_float() and name not in LANGUAGE]
        return found | {name: schema[name] for name in numbers[:MAX_POOL_NUMBERS]}

    def _pool_rows(self, rows: pl.DataFrame, blocks: Sequence[int]) -> pl.DataFrame:
        names = list(self._pool_columns)
        parts = []
        for block in blocks:
            mine = rows.filter(pl.col("row_id") // (1 << ROW_BITS) == block).get_column("row_id")
            with suppress(UsageError):  # neither work folder nor pool has it any more
                places = mine % (1 << ROW_BITS)
                parts.append(self._blocks.rows(block, names)[places].with_columns(row_id=mine))
        return _joined(rows, parts, self._pool_columns)

    def _languages(self, rows: pl.DataFrame, blocks: Sequence[int]) -> pl.DataFrame:
        if self._language is None:
            return pl.DataFrame()
        found = self._language.read(blocks, list(LANGUAGE))
        # A row for each of a block, in its order.
        parts = []
        for commits, frame in found:
            numbers = np.concatenate([row_ids(commit.block, commit.rows) for commit in commits])
            parts.append(frame.with_columns(row_id=pl.Series(numbers)))
        return _joined(rows, parts, LANGUAGE)


def _joined(rows: pl.DataFrame, found: Sequence[pl.DataFrame], columns: Mapping[str, Any]) -> pl.DataFrame:
    """The columns of what was found, for the rows in their order."""
    if not found:
        nothing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in columns.items()]
        return rows.with_columns(nothing).drop("row_id")
    table = pl.concat([frame.select("row_id", *columns).join(rows, on="row_id", how="semi") for frame in found])
    table = table.unique("row_id", keep="first", maintain_order=True)
    return rows.join(table, on="row_id", how="left", maintain_order="left").drop("row_id")


def _with_shared(known: pl.DataFrame) -> pl.DataFrame:
    fetched = known.filter(pl.col("status").is_not_null() & pl.col("url").is_not_null())
    lent = fetched.select("url", *FETCHED).unique("url", keep="first", maintain_order=True)
    joined = known.select("url").join(lent, on="url", how="left", maintain_order="left")
    own = known.get_column("status").is_not_null()
    mine = [pl.when(own).then(pl.col(name)).otherwise(pl.coalesce(joined[name], name)).alias(name) for name in FETCHED]
    return known.with_columns(mine)


def _own_name(column: str, scorer: str) -> str:
    """The recipe's name of a column that a scorer's store keeps under a neutral one."""
    return scorer + column.removeprefix(NEUTRAL) if column.startswith(NEUTRAL) else column


def _language_of(work: str, record: Mapping[str, Any]) -> str | None:
    """The store of languages. Builds of before it was noted have it where the work folder has one alone."""
    if "language" in record:
        return str(record["language"]) if record["language"] else None
    found = [path.name for path in (open_place(work) / "columns").glob("language-*")]
    return found[0] if len(found) == 1 else None
