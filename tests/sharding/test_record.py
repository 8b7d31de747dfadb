from __future__ import annotations

import datetime
import json
import math
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.record import RecordKind, RecordSchema, encode_record, record_schema

SCHEMA: RecordSchema = {"b": "string", "a": "int", "c": "float", "d": "bool", "e": "hex"}


def test_missing_values_have_the_type_of_present_ones() -> None:
    assert encode_record({}, SCHEMA) == b'{"b":"","a":-1,"c":0.0,"d":false,"e":""}'
    assert encode_record(dict.fromkeys(SCHEMA), SCHEMA) == encode_record({}, SCHEMA)


def test_floats_are_written_as_floats() -> None:
    schema: RecordSchema = {"x": "float"}
    assert encode_record({"x": 1}, schema) == b'{"x":1.0}'
    assert encode_record({"x": 1e22}, schema) == b'{"x":1e+22}'
    for bad in (math.nan, math.inf, -math.inf):
        assert encode_record({"x": bad}, schema) == b'{"x":0.0}'


def test_keys_come_in_schema_order_and_strangers_stay_out() -> None:
    record = {"z": 1, "a": 2, "b": 'ü "q"\n', "c": 0.5, "d": True, "e": 2**64 - 1}
    assert (
        encode_record(record, SCHEMA).decode() == '{"b":"ü \\"q\\"\\n","a":2,"c":0.5,"d":true,"e":"ffffffffffffffff"}'
    )


def test_everything_else_becomes_text() -> None:
    schema: RecordSchema = {"x": "string"}

    def text(value: Any) -> str:
        return str(json.loads(encode_record({"x": value}, schema))["x"])

    assert text(["ä", None, 1]) == '["ä",null,1]'
    assert text({"when": datetime.date(2020, 1, 2)}) == '{"when":"2020-01-02"}'
    assert text(datetime.datetime(2020, 1, 2, 3, 4)) == "2020-01-02T03:04:00"
    assert text(Decimal("1.50")) == "1.50"
    assert text("\ud800") == "?"


def test_a_value_of_the_wrong_kind_names_its_key() -> None:
    with pytest.raises(ValueError, match=r"record key 'a': 'many' is no int"):
        encode_record({"a": "many"}, SCHEMA)


KINDS: dict[RecordKind, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "int": st.integers(),
    "float": st.floats(),
    "bool": st.booleans(),
    "hex": st.integers(0, 2**64 - 1),
}
TYPES = {"string": str, "int": int, "float": float, "bool": bool, "hex": str}


@given(st.data())
def test_types_and_keys_never_change(data: st.DataObject) -> None:
    schema = data.draw(st.dictionaries(st.text(max_size=5), st.sampled_from(sorted(KINDS)), max_size=6))
    record = {name: data.draw(st.none() | KINDS[kind]) for name, kind in schema.items()}
    decoded = json.loads(encode_record(record, schema))
    assert list(decoded) == list(schema)
    assert all(type(decoded[name]) is TYPES[kind] for name, kind in schema.items())


def test_record_schema_of_every_polars_type() -> None:
    frame_schema = {
        "text": pl.String(),
        "category": pl.Categorical(),
        "small": pl.Int8(),
        "long": pl.Int64(),
        "unsigned": pl.UInt32(),
        "phash": pl.UInt64(),
        "huge": pl.Int128(),
        "half": pl.Float32(),
        "double": pl.Float64(),
        "yes": pl.Boolean(),
        "tags": pl.List(pl.String()),
        "box": pl.Struct({"x": pl.Int64()}),
        "when": pl.Datetime(),
        "price": pl.Decimal(10, 2),
        "nothing": pl.Null(),
        "thumbnail": pl.Binary(),
        "vector": pl.Array(pl.Float32(), 4),
    }
    schema = record_schema(pl.Schema(frame_schema))
    assert schema == {
        "text": "string",
        "category": "string",
        "small": "int",
        "long": "int",
        "unsigned": "int",
        "phash": "hex",
        "huge": "string",
        "half": "float",
        "double": "float",
        "yes": "bool",
        "tags": "string",
        "box": "string",
        "when": "string",
        "price": "string",
        "nothing": "string",
        "vector": "string",
    }
    assert list(schema) == [name for name in frame_schema if name != "thumbnail"]


def test_rows_of_a_frame_encode() -> None:
    frame = pl.DataFrame({"tags": [["a"], None], "vector": pl.Series([[1.0, 2.0]] * 2, dtype=pl.Array(pl.Float32, 2))})
    schema = record_schema(frame.schema)
    assert [encode_record(row, schema) for row in frame.iter_rows(named=True)] == [
        b'{"tags":"[\\"a\\"]","vector":"[1.0,2.0]"}',
        b'{"tags":"","vector":"[1.0,2.0]"}',
    ]
