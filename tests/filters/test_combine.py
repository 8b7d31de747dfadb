from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.filters.by import By
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.combine import AllOf, AnyOf, AtLeast, Not
from pairmill.filters.rule import Rule
from pairmill.filters.verdict import all_reasons, first_reason

Row = dict[str, object]


def missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def judges(rule: Rule, row: Row) -> bool:
    if isinstance(rule, ColumnRange):
        return not missing(row[rule.column])
    inside = case_of(rule, row) if isinstance(rule, By) else rule.of
    return all(judges(part, row) for part in inside)


def case_of(rule: By, row: Row) -> tuple[Rule, ...]:
    return dict(rule.values).get(row[rule.column], rule.otherwise)


def reasons(rule: Rule, row: Row) -> list[str]:  # noqa: PLR0911 (a return for each kind of rule)
    """Every rule of this page said again for one row: its reasons, none where it keeps the row."""
    if isinstance(rule, ColumnRange):
        value = row[rule.column]
        if missing(value):
            return [f"missing_{rule.column}"] if rule.missing == "reject" else []
        low = rule.at_least is not None and value < rule.at_least
        return [f"{rule.column}_too_low"] if low else []
    if isinstance(rule, By):
        return [reason for part in case_of(rule, row) for reason in reasons(part, row)]
    inside = [reasons(part, row) for part in rule.of]
    told = [reason for part in inside for reason in part]
    kept = sum(not part for part in inside)
    if isinstance(rule, Not):
        if not all(judges(part, row) for part in rule.of):
            return told
        return [rule.reason or "failed_not"] if not told else []
    if isinstance(rule, AllOf) and rule.reason is None:
        return told
    return [] if kept >= rule.least() else [rule.reason or rule.own_reason(), *told]


leaf = st.builds(
    ColumnRange,
    column=st.sampled_from(["a", "b"]),
    at_least=st.sampled_from([0.0, 0.5]),
    missing=st.sampled_from(["reject", "keep"]),
)
word = st.none() | st.sampled_from(["weak", "odd"])


def joined(rule: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    several = st.lists(rule, min_size=1, max_size=3).map(tuple)
    cases = st.lists(several, max_size=2).map(lambda parts: tuple(zip(("en", "de"), parts, strict=False)))
    return st.one_of(
        st.builds(AnyOf, of=several, reason=word),
        st.builds(AllOf, of=several, reason=word),
        st.builds(Not, of=several, reason=word),
        several.flatmap(lambda of: st.builds(AtLeast, of=st.just(of), k=st.integers(1, len(of)), reason=word)),
        st.builds(By, column=st.just("lang"), values=cases.filter(bool), otherwise=several),
    )


number = st.none() | st.sampled_from([math.nan, -1.0, 0.0, 0.25, 0.5, 2.0])
rows = st.lists(
    st.fixed_dictionaries({"a": number, "b": number, "lang": st.sampled_from(["en", "de", "fr", None])}), max_size=10
)
SCHEMA = {"a": pl.Float32, "b": pl.Float64, "lang": pl.String}


@settings(max_examples=60)
@given(rows, st.lists(st.recursive(leaf, joined, max_leaves=6), min_size=1, max_size=3))
def test_equal_to_python_at_any_depth(table, rules):
    frame = pl.DataFrame(table, schema=SCHEMA)
    first, every = first_reason(rules, frame).to_list(), all_reasons(rules, frame).to_list()
    for row, one, found in zip(table, first, every, strict=True):
        alone = [reasons(rule, row) for rule in rules]
        told = next((part for part in alone if part), [])
        assert (one is None) == (found == []) == (not told)
        assert set(found) == {reason for part in alone for reason in part}
        if told:
            # A By of rules in other orders has the order of the row's own; so the first is always the row's own first.
            assert one == told[0] == found[0]


FRAME = pl.DataFrame({"a": [1.0, 0.0, 0.0, None], "b": [0.0, 1.0, 0.0, 0.0]})
A, B = ColumnRange(column="a", at_least=0.5), ColumnRange(column="b", at_least=0.5)


def test_any_of_has_its_own_reason_and_tells_those_inside_when_all_are_asked():
    rule = AnyOf(of=(A, B))
    assert first_reason([rule], FRAME).to_list() == [None, None, "failed_any_of", "failed_any_of"]
    assert all_reasons([rule], FRAME).to_list() == [
        [],
        [],
        ["failed_any_of", "a_too_low", "b_too_low"],
        ["failed_any_of", "missing_a", "b_too_low"],
    ]
    assert first_reason([AnyOf(of=(A, B), reason="weak")], FRAME)[2] == "weak"


def test_at_least_k_of():
    rules = (A, B, ColumnRange(column="b", at_least=-1.0))
    assert first_reason([AtLeast(of=rules, k=2)], FRAME).to_list() == [
        None, None, "failed_at_least_2_of_3", "failed_at_least_2_of_3",
    ]  # fmt: skip
    assert first_reason([AtLeast(of=rules, k=1)], FRAME).is_null().all()


def test_not_leaves_a_missing_value_as_it_was():
    assert first_reason([Not(of=(A,))], FRAME).to_list() == ["failed_not", None, None, "missing_a"]
    kept = ColumnRange(column="a", at_least=0.5, missing="keep")
    assert first_reason([Not(of=(kept,))], FRAME).to_list() == ["failed_not", None, None, None]


def test_of_nothing():
    assert first_reason([AllOf(of=())], FRAME).is_null().all()
    assert first_reason([Not(of=())], FRAME).to_list() == ["failed_not"] * 4


@pytest.mark.parametrize("make", [lambda: AnyOf(of=()), lambda: AtLeast(of=(A,), k=2), lambda: AtLeast(of=(A,), k=0)])
def test_what_no_row_could_pass_is_refused(make):
    with pytest.raises(ValueError, match=r"no row could pass|k is \d; it must be 1 to 1"):
        make()


@pytest.mark.parametrize("reason", ["", "Too bad", "kept", "1a"])
def test_a_reason_is_a_word(reason):
    with pytest.raises(ValueError, match=r"any_of: reason is .*; it must be a word of lower-case letters"):
        AnyOf(of=(A,), reason=reason)
