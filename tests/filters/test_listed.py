from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.filters import listed
from pairmill.filters.listed import HOST, MD5, NUMBER, PHASH, SHA256, TEXT, TEXT_IN_ANY_CASE, table_of
from pairmill.sharding.value_list import list_file

words = st.text("abAB\u0130\u03a3 .", max_size=4)


def has(values, form, column, dtype=pl.String) -> list[bool | None]:
    frame = pl.DataFrame({"c": column}, schema={"c": dtype})
    return frame.select(table_of(values, form).has(pl.col("c"))).to_series().to_list()


@given(st.lists(words, max_size=20).map(tuple), st.lists(st.none() | words, max_size=20))
def test_as_python_has_it(values, column):
    assert has(values, TEXT, column) == [None if v is None else v in values for v in column]


@given(st.lists(words, max_size=20).map(tuple), st.lists(st.none() | words, max_size=20))
def test_in_any_case(values, column):
    lower = {v.lower() for v in values}
    assert has(values, TEXT_IN_ANY_CASE, column) == [None if v is None else v.lower() in lower for v in column]


@given(st.lists(words, max_size=8).map(tuple), st.lists(st.none() | st.lists(words, max_size=5), max_size=9))
def test_counted_in_lists(values, column):
    frame = pl.DataFrame({"c": column}, schema={"c": pl.List(pl.String)})
    counted = frame.select(table_of(values, TEXT).count(pl.col("c"))).to_series().to_list()
    assert counted == [None if row is None else sum(v in values for v in row) for row in column]


def test_a_long_list_is_exact():
    values = tuple(f"http://h{n % 97}.example/{n}.jpg" for n in range(50_000))
    asked = [*values[::9], *(value + "x" for value in values[::9]), values[-1], values[0]]
    known = set(values)
    assert has(values, TEXT, asked) == [value in known for value in asked]


def test_values_of_one_key_are_told_apart(monkeypatch):
    """Two values that hash alike: another seed is taken, or the second would not be found."""
    real = pl.Series.hash
    asked = []

    def weak(self, seed, *rest):
        asked.append(seed)
        keys = real(self, seed, *rest)
        return keys * 0 if len(asked) < 3 else keys

    monkeypatch.setattr(pl.Series, "hash", weak)
    table = listed._ready(pl.Series(["a", "b", "c"]), TEXT)
    assert asked[2] == asked[0] + 2
    monkeypatch.undo()
    frame = pl.DataFrame({"c": ["a", "b", "c", "d"]})
    assert frame.select(table.has(pl.col("c"))).to_series().to_list() == [True, True, True, False]


def test_digests_in_any_case():
    digest = "0123456789abcdef" * 4
    assert has((digest.upper(),), SHA256, [digest, digest.upper(), digest[:-1] + "0", "", None]) == [
        True, True, False, False, None,
    ]  # fmt: skip
    assert has((digest[:32],), MD5, [digest[:32], digest]) == [True, False]


def test_perceptual_hashes_are_numbers_in_the_column():
    values = ("ffffffffffffffff", "8000000000000001", "0000000000000000")
    column = [2**64 - 1, 2**63 + 1, 0, 1, None]
    assert has(values, PHASH, column, pl.UInt64) == [True, True, True, False, None]


@given(st.lists(st.integers(-5, 5), max_size=6).map(tuple), st.lists(st.none() | st.integers(-5, 5), max_size=6))
def test_whole_numbers(values, column):
    assert has(values, NUMBER, column, pl.Int32) == [None if v is None else v in values for v in column]


@pytest.mark.parametrize(
    ("form", "wrong", "told"),
    [
        (SHA256, "abc", "the list has 'abc', which is no sha256 (such as 64 hex digits)"),
        (MD5, "g" * 32, "which is no md5"),
        (PHASH, "12", "which is no phash (such as 16 hex digits)"),
        (NUMBER, "1.5", "which is no whole number"),
        (HOST, "http://a.b/", "which is no host (such as example.com)"),
    ],
)
def test_what_is_no_value_is_told(form, wrong, told, tmp_path):
    with pytest.raises(ValueError, match="the list has ") as caught:
        table_of((wrong,), form)
    assert told in str(caught.value)
    path = tmp_path / "list.txt"
    path.write_text(f"{wrong}\n")
    with pytest.raises(ValueError, match=f"the list {path} has "):
        table_of(list_file(path), form)


def test_a_list_in_a_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    path.write_text("a\nb\na\n")
    read = []
    monkeypatch.setattr(listed, "read_list", lambda values: read.append(values) or pl.Series(["a", "b", "a"]))
    for _ in range(3):
        assert has(list_file(path), TEXT, ["a", "c"]) == [True, False]
    assert len(read) == 1


def test_an_empty_list_has_nothing():
    assert has((), TEXT, ["a", None, ""]) == [False, None, False]
    frame = pl.DataFrame({"c": [["a"], [], None]}, schema={"c": pl.List(pl.String)})
    assert frame.select(table_of((), TEXT).count(pl.col("c"))).to_series().to_list() == [0, 0, None]


def test_lower_case_is_python_s_at_every_code_point():
    """What is looked up in lower case is what Python code would look up."""
    every = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cs", "Cn")]
    assert pl.Series(every).str.to_lowercase().to_list() == [c.lower() for c in every]
