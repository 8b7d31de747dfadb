from __future__ import annotations

import polars as pl
import pytest

from pairmill.filters.column_values import ColumnValues
from pairmill.filters.verdict import first_reason


def reasons(rule: ColumnValues, *values: object) -> list[str | None]:
    return first_reason([rule], pl.DataFrame({"c": values})).to_list()


def test_kept_and_dropped():
    assert reasons(ColumnValues(column="c", keep=("JPEG", "PNG")), "JPEG", "jpeg", None) == [
        None, "c_not_kept", "missing_c",
    ]  # fmt: skip
    assert reasons(ColumnValues(column="c", drop=("a",), missing="keep"), "a", "b", None) == ["c_dropped", None, None]
    assert reasons(ColumnValues(column="c", keep=("a", "b"), drop=("b",)), "a", "b", "c") == [
        None, "c_dropped", "c_not_kept",
    ]  # fmt: skip


def test_flags_and_numbers():
    assert reasons(ColumnValues(column="c", keep=(True,)), True, False, None) == [None, "c_not_kept", "missing_c"]
    assert reasons(ColumnValues(column="c", drop=(1, 2)), 1, 3) == ["c_dropped", None]


@pytest.mark.parametrize(
    "parameters",
    [{}, {"keep": ()}, {"keep": "JPEG"}, {"keep": ("a", 1)}, {"drop": (True, 1)}, {"keep": (None,)}, {"drop": (1.5,)}],
)
def test_senseless_parameters(parameters):
    with pytest.raises(ValueError, match=r"^column_values: "):
        ColumnValues(column="c", **parameters)


def test_texts_asked_of_numbers_are_a_clear_error():
    with pytest.raises(ValueError, match=r"^rule column_values cannot judge c: Int64") as caught:
        reasons(ColumnValues(column="c", keep=("1",)), 1)
    assert "\n" not in str(caught.value)
