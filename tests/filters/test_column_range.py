from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.filters.column_range import ColumnRange
from pairmill.filters.verdict import first_reason


def test_the_reasons_name_the_column():
    frame = pl.DataFrame({"clip": [0.1, 0.2, 0.3, 0.4]})
    rule = ColumnRange(column="clip", at_least=0.2, at_most=0.3)
    assert first_reason([rule], frame).to_list() == ["clip_too_low", None, None, "clip_too_high"]


@settings(deadline=None)
@given(st.lists(st.floats(width=32), max_size=20), st.floats(-1, 1))
def test_float32_scores_are_bounded_as_numpy_does(scores, bound):
    frame = pl.DataFrame({"score": scores}, schema={"score": pl.Float32})
    kept = first_reason([ColumnRange(column="score", at_least=bound)], frame).is_null().to_list()
    # numpy rounds the Python float to the array's float32 first; DataComp's thresholds are applied that way.
    assert kept == (np.array(scores, dtype=np.float32) >= bound).tolist()


def test_whole_numbers_and_a_fractional_bound():
    frame = pl.DataFrame({"votes": [2, 3]})
    assert first_reason([ColumnRange(column="votes", at_least=2.5)], frame).to_list() == ["votes_too_low", None]


def test_infinities_are_numbers():
    frame = pl.DataFrame({"score": [float("-inf"), float("inf")]})
    rule = ColumnRange(column="score", at_least=0, at_most=1)
    assert first_reason([rule], frame).to_list() == ["score_too_low", "score_too_high"]


def test_a_range_has_a_bound():
    with pytest.raises(ValueError, match="column_range: the column 'score' needs at_least, at_most or both"):
        ColumnRange(column="score")
    with pytest.raises(ValueError, match="at_least 2 is above at_most 1"):
        ColumnRange(column="score", at_least=2, at_most=1)
    with pytest.raises(ValueError, match="at_most is nan"):
        ColumnRange(column="score", at_most=float("nan"))
