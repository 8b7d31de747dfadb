"""The JSON member of a sample: one fixed set of keys in one fixed order, each value always of one JSON type.

Hugging Face ``datasets`` takes the types from the first samples of the first shard: a null there and a string later
fails, a 1 there makes a later 1.5 into 1, a key that first comes later is dropped. So a record knows no null: a missing
value is "", -1, 0.0 or false by its kind, and the dataset's metadata table keeps the difference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import polars as pl

#: ``hex`` is an unsigned 64-bit number as 16 hex digits: readers take JSON numbers as signed.
RecordKind = Literal["string", "int", "float", "bool", "hex"]

#: The keys of a record in their order, each with its kind.
RecordSchema = dict[str, RecordKind]

_MISSING: dict[str, Any] = {"string": "", "int": -1, "float": 0.0, "bool": False, "hex": ""}
_NARROW_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)


def record_schema(columns: Mapping[str, Any]) -> RecordSchema:
    """The record schema of table columns, given as name to Polars type (``DataFrame.schema`` will do), in their order.

    Binary and object columns are left out. Lists and structs become their JSON text, dates ISO 8601 text, unsigned
    64-bit numbers (phash) 16 hex digits, 128-bit numbers and decimals their digits as text.
    """
    schema: RecordSchema = {}
    for name, dtype in columns.items():
        if dtype in (pl.Binary, pl.Object):
            continue
        schema[name] = _kind(dtype)
    return schema


def _kind(dtype: Any) -> RecordKind:
    if dtype == pl.Boolean:
        return "bool"
    if dtype == pl.UInt64:
        return "hex"
    if dtype in _NARROW_INTEGERS:
        return "int"
    if dtype.is_float():
        return "float"
    return "string"


def encode_record(record: Mapping[str, Any], schema: RecordSchema) -> bytes:
    """The record as compact UTF-8 JSON with exactly the keys of ``schema``, in its order.

    Keys that ``record`` lacks count as missing, keys that ``schema`` lacks are left out. Not-a-number and the
    infinities are missing too: 0.0. Raises ValueError, naming the key, for a value that its kind cannot hold (text in
    an int).
    """
    values: dict[str, Any] = {}
    for name, kind in schema.items():
        value = record.get(name)
        try:
            values[name] = _MISSING[kind] if value is None else _value(value, kind)
        except (TypeError, ValueError) as error:
            raise ValueError(f"record key {name!r}: {value!r:.60} is no {kind}") from error
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def _value(value: Any, kind: RecordKind) -> Any:
    if kind == "string":
        return value if type(value) is str else _as_text(value)
    if kind == "float":
        number = float(value)
        return number if math.isfinite(number) else 0.0
    if kind == "int":
        return int(value)
    if kind == "bool":
        return bool(value)
    return f"{int(value):016x}"


def _as_text(value: Any) -> str:
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_as_text)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)
