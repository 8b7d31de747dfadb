from __future__ import annotations

from dataclasses import FrozenInstanceError

import polars as pl
import pytest

from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.image_size import ImageSize
from pairmill.filters.verdict import first_reason


def test_a_rule_is_a_value():
    rule = CaptionLength(min_words=2)
    assert rule == CaptionLength(min_words=2)
    assert hash(rule) == hash(CaptionLength(min_words=2))
    with pytest.raises(FrozenInstanceError):
        rule.min_words = 5  # type: ignore[misc]


def test_possible_reasons_follow_the_parameters():
    assert CaptionLength(min_words=2, min_chars=None, max_chars=9).possible_reasons() == (
        "missing_caption",
        "caption_too_few_words",
        "caption_too_many_chars",
    )
    assert ColumnRange(column="score", at_most=1, missing="keep").possible_reasons() == ("score_too_high",)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_missing_value_is_rejected_by_name(value):
    frame = pl.DataFrame({"score": [value, 0.5]}, schema={"score": pl.Float32})
    assert first_reason([ColumnRange(column="score", at_least=0.1)], frame).to_list() == ["missing_score", None]


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_missing_value_can_pass(value):
    frame = pl.DataFrame({"score": [value, 0.0]}, schema={"score": pl.Float64})
    rule = ColumnRange(column="score", at_least=0.1, missing="keep")
    assert first_reason([rule], frame).to_list() == [None, "score_too_low"]


def test_a_row_kept_for_one_missing_column_is_not_judged_by_the_other():
    frame = pl.DataFrame({"original_width": [None, 10], "original_height": [10, 10]})
    assert first_reason([ImageSize(missing="keep")], frame).to_list() == [None, "image_too_small"]
    assert first_reason([ImageSize()], frame).to_list() == ["missing_original_width", "image_too_small"]


def test_an_unknown_outcome_of_missing_values_is_refused():
    with pytest.raises(ValueError, match="missing is 'drop'; it must be 'reject' or 'keep'"):
        CaptionLength(missing="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("column", ["*", "^.*$", ""])
def test_a_column_pattern_is_refused(column):
    with pytest.raises(ValueError, match="column_range: the column"):
        ColumnRange(column=column, at_least=1)
