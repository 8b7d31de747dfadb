from __future__ import annotations

import polars as pl
import pytest

from pairmill.filters.column_difference import ColumnDifference
from pairmill.filters.verdict import first_reason


def test_the_reasons_name_the_column():
    frame = pl.DataFrame({"a": [0.3, 0.3, 0.3], "b": [0.1, 0.28, 0.5]}, schema_overrides={"b": pl.Float32})
    rule = ColumnDifference(column="a", minus="b", at_least=-0.1, at_most=0.1)
    assert first_reason([rule], frame).to_list() == ["a_difference_too_high", None, "a_difference_too_low"]


def test_unsigned_numbers_have_differences_below_0():
    frame = pl.DataFrame({"a": [1, 3], "b": [2, 1]}, schema={"a": pl.UInt8, "b": pl.UInt8})
    assert first_reason([ColumnDifference(column="a", minus="b", at_least=0)], frame).to_list() == [
        "a_difference_too_low",
        None,
    ]


def test_missing_values():
    frame = pl.DataFrame({"a": [None, 1.0, float("nan")], "b": [1.0, None, 1.0]})
    rule = ColumnDifference(column="a", minus="b", at_most=0)
    assert first_reason([rule], frame).to_list() == ["missing_a", "missing_b", "missing_a"]
    keep = ColumnDifference(column="a", minus="b", at_most=0, missing="keep")
    assert first_reason([keep], frame).to_list() == [None, None, None]


def test_bad_parameters():
    with pytest.raises(ValueError, match="column_difference: 'a' less 'b' needs at_least, at_most or both"):
        ColumnDifference(column="a", minus="b")
    with pytest.raises(ValueError, match="'a' less itself is 0"):
        ColumnDifference(column="a", minus="a", at_least=0)
    with pytest.raises(ValueError, match="at_least 2 is above at_most 1"):
        ColumnDifference(column="a", minus="b", at_least=2, at_most=1)
