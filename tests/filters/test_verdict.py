from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.image_size import ImageSize
from pairmill.filters.language import Language
from pairmill.filters.rule import Rejection, Rule
from pairmill.filters.verdict import all_reasons, first_reason, needed_columns

RULES = [CaptionLength(max_words=4), ColumnRange(column="score", at_least=0, at_most=1), ImageSize()]


@dataclass(frozen=True, kw_only=True)
class Nothing(Rule):
    name: ClassVar[str] = "nothing"
    source: ClassVar[str] = "test"
    reasons: ClassVar[tuple[str, ...]] = ("always",)
    when: object = True

    def columns(self) -> tuple[str, ...]:
        return ()

    def rejections(self) -> tuple[Rejection, ...]:
        return (Rejection("always", pl.lit(self.when)),)


rows = st.lists(
    st.fixed_dictionaries(
        {
            "caption": st.none() | st.sampled_from(["", "a b c", "abc def ghi", "a b c d e f"]),
            "score": st.none() | st.sampled_from([float("nan"), -1.0, 0.0, 0.5, 1.0, 2.0]),
            "original_width": st.none() | st.sampled_from([0, 1, 199, 200, 600, 601]),
            "original_height": st.none() | st.sampled_from([0, 200, 201]),
        }
    ),
    max_size=12,
)
SCHEMA = {"caption": pl.String, "score": pl.Float32, "original_width": pl.Int32, "original_height": pl.Int32}


@settings(deadline=None)
@given(rows, st.permutations(RULES))
def test_the_first_reason_heads_the_list_of_all(table, rules):
    frame = pl.DataFrame(table, schema=SCHEMA)
    first, every = first_reason(rules, frame).to_list(), all_reasons(rules, frame).to_list()
    assert len(first) == len(every) == len(table)
    assert first == [reasons[0] if reasons else None for reasons in every]
    for number, rule in enumerate(rules):
        alone = first_reason([rule], frame).to_list()
        for row, reason in enumerate(alone):
            if reason is not None:
                assert reason in every[row]
                earlier = [first_reason([r], frame).to_list()[row] for r in rules[:number]]
                assert first[row] == next((e for e in earlier if e is not None), reason)


def test_the_type_names_every_reason_in_order():
    frame = pl.DataFrame(schema=SCHEMA)
    reasons = first_reason(RULES, frame)
    assert reasons.dtype == pl.Enum([reason for rule in RULES for reason in rule.possible_reasons()])
    assert reasons.name == "reason"
    assert all_reasons(RULES, frame).dtype == pl.List(reasons.dtype)


def test_no_rules_keep_everything():
    frame = pl.DataFrame({"caption": ["a", None]})
    assert first_reason([], frame).to_list() == [None, None]
    assert all_reasons([], frame).to_list() == [[], []]


def test_a_reason_of_two_rules_is_listed_once():
    frame = pl.DataFrame({"caption": [None]}, schema={"caption": pl.String})
    twice = [CaptionLength(), CaptionLength(min_words=9)]
    assert all_reasons(twice, frame).to_list() == [["missing_caption"]]
    assert first_reason(twice, frame).to_list() == ["missing_caption"]


def test_a_condition_on_no_column_holds_for_every_row():
    frame = pl.DataFrame({"caption": ["a", "b"]})
    assert first_reason([Nothing()], frame).to_list() == ["always", "always"]
    assert first_reason([Nothing(when=None)], frame).to_list() == [None, None]


def test_needed_columns_are_named_once():
    rules = [Language(min_confidence=0.5), CaptionLength(), Language()]
    assert needed_columns(rules) == ("lang", "lang_confidence", "caption")


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"rule language needs the column 'lang', which the table lacks \(it has: a\)"):
        first_reason([Language()], pl.DataFrame({"a": [1]}))


@pytest.mark.parametrize(
    "rule",
    [
        CaptionLength(column="number"),
        Language(column="number"),
        ColumnRange(column="text", at_least=1),
        ImageSize(width_column="text"),
        Nothing(when=3),
    ],
)
def test_a_column_of_the_wrong_type_is_a_clear_error(rule):
    frame = pl.DataFrame({"number": [1.5], "text": ["a"], "original_height": [3]})
    with pytest.raises(ValueError, match=f"^rule {rule.name} ") as caught:
        first_reason([rule], frame)
    assert "\n" not in str(caught.value)
