"""Rows that come as Python objects (JSON lines, documents, tar members) into columns of fixed types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import polars as pl

from pairmill.transforms.pool.opening import open_pool_file, read_lines
from pairmill.transforms.pool.rows import PLACE, json_text, other_fields_series, text_series
from pairmill.transforms.pool.schema import CANONICAL, PoolColumn, common_dtype
from pairmill.transforms.pool.spec import PoolError

#: What a pool's schema is told from when its format has none: so many rows of so many files, spread over the pool.
SAMPLE_ROWS = 1_000
SAMPLE_FILES = 8


#: What a reader may know of a row by other means than its fields, beside tar_offset and tar_bytes.
KNOWN_TEXT = ("path", "caption", "pool_key", PLACE)


@dataclass(frozen=True)
class Record:
    """One row as found: its fields, what the reader itself knows (see KNOWN_TEXT), and what is wrong with it."""

    fields: Mapping[str, object] = field(default_factory=dict)
    known: Mapping[str, object] = field(default_factory=dict)
    error: str | None = None


def json_record(raw: bytes) -> Record:
    """A JSON object as a record; the error is ``not_utf8`` or ``bad_json`` when it is none."""
    try:
        fields = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return Record(error="not_utf8")
    except (ValueError, RecursionError):
        return Record(error="bad_json")
    return Record(fields) if isinstance(fields, dict) else Record(error="bad_json")


def jsonl_records(path: Path) -> Iterator[Record]:
    """One record for each line of a JSON Lines file; lines of white space are no rows."""
    return (json_record(line) for line in read_lines(path) if not line.isspace())


def json_records(path: Path) -> Iterator[Record]:
    """The rows of one whole JSON file, which is held in memory.

    Accepted: a list of objects, an object with one such list (RedCaps' ``annotations``), an object of equally long
    lists (SBU). Raises PoolError for anything else.
    """
    with open_pool_file(path) as opened:
        content = opened.read()
    try:
        whole = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        hint = "say pool format: jsonl" if "Extra data" in str(error) else "fetch it again or take it out of the pool"
        raise PoolError(f"{path}: is not JSON ({error}); {hint}") from error
    if isinstance(whole, dict):
        lists = {k: v for k, v in whole.items() if isinstance(v, list)}
        tables = [v for v in lists.values() if v and all(isinstance(row, dict) for row in v)]
        if len(tables) == 1:
            whole = tables[0]
        elif lists and not tables and len({len(v) for v in lists.values()}) == 1:
            return (Record(dict(zip(lists, row, strict=True))) for row in zip(*lists.values(), strict=True))
        elif len(lists) == 1 and not next(iter(lists.values())):
            whole = []
    if not isinstance(whole, list):
        raise PoolError(f"{path}: is neither a list of rows nor an object of equally long lists; is the format right?")
    return (Record(row) if isinstance(row, dict) else Record(error="bad_json") for row in whole)


def sampled(files: Sequence[Path]) -> list[Path]:
    """The files that tell the schema: all of a few, else some spread evenly, the first and the last among them."""
    if len(files) <= SAMPLE_FILES:
        return list(files)
    return [files[i * (len(files) - 1) // (SAMPLE_FILES - 1)] for i in range(SAMPLE_FILES)]


def sampled_dtypes(tables: Iterable[Iterable[Record]]) -> dict[str, pl.DataType]:
    """Field → type over the first 1,000 records of each table, in order of first sight."""
    found: dict[str, pl.DataType] = {}
    for records in tables:
        for record in islice(records, SAMPLE_ROWS):
            for name, value in record.fields.items():
                seen = _dtype_of(value)
                found[name] = common_dtype(found[name], seen) if name in found else seen
    return {name: pl.String() if dtype == pl.Null() else dtype for name, dtype in found.items()}


def _dtype_of(value: object) -> pl.DataType:
    if value is None:
        return pl.Null()
    if isinstance(value, bool):
        return pl.Boolean()
    if isinstance(value, int):
        return pl.Int64() if -(1 << 63) <= value < 1 << 63 else pl.String()
    if isinstance(value, (list, dict)):
        return pl.List(pl.String())
    return pl.Float64() if isinstance(value, float) else pl.String()


def records_frame(
    records: Sequence[Record], columns: tuple[PoolColumn, ...], drop: frozenset[str], leftovers: bool
) -> pl.DataFrame:
    """Records as a frame of our columns, with ``row_error`` and ``other_fields``; ``drop`` names fields to leave out.

    A value that does not fit its column goes to ``other_fields``, with ``leftovers`` a field without a column too.
    """
    values: dict[str, list[object]] = {c.name: [None] * len(records) for c in columns}
    others: list[dict[str, object]] = [{} for _ in records]
    placed = drop.union(*(c.sources for c in columns))
    for i, record in enumerate(records):
        for column in columns:
            for source in column.sources:
                value = record.fields.get(source)
                if value is None:
                    continue
                fitted = _fitted(value, column)
                if fitted is not None:
                    values[column.name][i] = fitted
                    break
                others[i][source] = value
        if leftovers:
            others[i].update((k, v) for k, v in record.fields.items() if k not in placed and v is not None)
    series = [_series(c.name, values[c.name], c.dtype) for c in columns]
    series = [s for s in series if s.name not in KNOWN_TEXT]
    series += [_known_series(name, records, values.get(name)) for name in KNOWN_TEXT]
    series += [pl.Series(n, [r.known.get(n) for r in records], dtype=pl.Int64) for n in ("tar_offset", "tar_bytes")]
    series.append(text_series("row_error", [r.error for r in records]))
    return pl.DataFrame([*series, other_fields_series(others)])


def _known_series(name: str, records: Sequence[Record], values: Sequence[object] | None) -> pl.Series:
    """What the readers know, else what the fields say."""
    both = zip(records, values if values is not None else [None] * len(records), strict=True)
    return text_series(name, [r.known.get(name, v) for r, v in both])  # type: ignore[misc]


def _series(name: str, values: Sequence[object], dtype: pl.DataType) -> pl.Series:
    if dtype == pl.String():
        return text_series(name, values)  # type: ignore[arg-type]
    return pl.Series(name, values, dtype=dtype)


def _fitted(value: object, column: PoolColumn) -> object:
    """The value as the column's type, or None where it does not fit."""
    kind = column.dtype
    if kind == pl.String():
        return _text(value, column.name)
    if kind == pl.Boolean():
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if kind.is_float():
        return float(value) if isinstance(value, float) or abs(value) < 1 << 1000 else None
    low, high = (-(1 << 31), 1 << 31) if kind == pl.Int32() else (-(1 << 63), 1 << 63)
    return int(value) if low <= value < high and int(value) == value else None


def _text(value: object, name: str) -> str | None:
    if isinstance(value, str):
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in CANONICAL and not (name == "caption" and number):
        return None  # a list of captions or an object for an address would only look like one
    return json_text(value)
