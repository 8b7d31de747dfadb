from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.filters.by import By
from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.verdict import all_reasons, first_reason


def clip(at_least: float) -> tuple[ColumnRange, ...]:
    return (ColumnRange(column="clip", at_least=at_least),)


RULE = By(column="lang", values=(("en", clip(0.28)), ("de", clip(0.25))), otherwise=clip(0.26))


def test_a_threshold_for_each_language():
    rows = [("en", 0.28), ("en", 0.27), ("de", 0.25), ("de", 0.2), ("fr", 0.26), ("fr", 0.25)]
    rows += [(None, 0.26), (None, 0.2), ("en", None)]
    frame = pl.DataFrame(rows, schema={"lang": pl.String, "clip": pl.Float32}, orient="row")
    low = "clip_too_low"
    assert first_reason([RULE], frame).to_list() == [None, low, None, low, None, low, None, low, "missing_clip"]
    assert RULE.columns() == ("lang", "clip")
    assert RULE.possible_reasons() == ("missing_clip", "clip_too_low")


@given(st.lists(st.tuples(st.sampled_from(["en", "de", "fr", None]), st.none() | st.floats(width=32)), max_size=20))
def test_each_row_is_judged_as_by_the_rules_for_its_own_value(rows):
    frame = pl.DataFrame(rows, schema={"lang": pl.String, "clip": pl.Float32}, orient="row")
    alone = {v: first_reason(clip(bound), frame).to_list() for v, bound in (("en", 0.28), ("de", 0.25), (None, 0.26))}
    expected = [alone[lang if lang in ("en", "de") else None][row] for row, (lang, _) in enumerate(rows)]
    assert first_reason([RULE], frame).to_list() == expected


def test_numbers_and_flags_are_compared_as_text():
    frame = pl.DataFrame({"source": [1, 2, None], "clip": [0.5, 0.5, 0.5]})
    rule = By(column="source", values=(("2", clip(0.6)),), otherwise=())
    assert first_reason([rule], frame).to_list() == [None, "clip_too_low", None]
    frame = pl.DataFrame({"source": [True, False], "clip": [0.5, 0.5]})
    rule = By(column="source", values=(("true", clip(0.6)),))
    assert first_reason([rule], frame).to_list() == ["clip_too_low", None]


def test_a_reason_stands_for_all_values_in_the_order_of_each():
    both = CaptionLength(min_words=3, min_chars=6)
    only_chars = CaptionLength(min_words=None, min_chars=9)
    rule = By(column="lang", values=(("zh", (only_chars,)), ("en", (both,))))
    assert rule.possible_reasons() == ("missing_caption", "caption_too_few_words", "caption_too_few_chars")
    frame = pl.DataFrame({"lang": ["zh", "en", "fr"], "caption": ["a", "a", "a"]})
    assert first_reason([rule], frame).to_list() == ["caption_too_few_chars", "caption_too_few_words", None]


def test_rules_in_other_orders_for_other_values():
    one, two = ColumnRange(column="a", at_least=1), ColumnRange(column="b", at_least=1)
    rule = By(column="lang", values=(("x", (one, two)), ("y", (two, one))))
    frame = pl.DataFrame({"lang": ["x", "y", "z"], "a": [0, 0, 0], "b": [0, 0, 0]})
    assert first_reason([rule], frame).to_list() == ["a_too_low", "b_too_low", None]
    assert all_reasons([rule], frame).to_list() == [["a_too_low", "b_too_low"], ["b_too_low", "a_too_low"], []]


def test_hundreds_of_values():
    count = 400
    rule = By(column="lang", values=tuple((f"l{n}", clip(n / count)) for n in range(count)), otherwise=clip(2))
    rows = [(f"l{n % (count + 1)}", (n % 7) / 7) for n in range(5_000)]
    frame = pl.DataFrame(rows, schema=["lang", "clip"], orient="row")
    bounds = {f"l{n}": n / count for n in range(count)}
    expected = [clip_score >= bounds.get(lang, 2) for lang, clip_score in rows]
    assert first_reason([rule], frame).is_null().to_list() == expected


@pytest.mark.parametrize("values", [(), (("en", ()), ("en", clip(1)))])
def test_values_are_named_once(values):
    with pytest.raises(ValueError, match=r"by: values names .*; name each value of the column once"):
        By(column="lang", values=values)


def test_the_column_is_a_name():
    with pytest.raises(ValueError, match="by: the column"):
        By(column="*", values=(("en", ()),))
