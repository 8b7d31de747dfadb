"""Which group a row belongs to, and what groups there are."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.errors import UsageError
from pairmill.sharding.shard_groups import MAX_GROUPS, ShardGroups, group_values, plan_groups


def test_values_are_text_and_nothing_is_none() -> None:
    by = ShardGroups(by="lang")
    assert group_values(pl.Series(["en", None, "", "de"]), by).to_list() == ["en", None, None, "de"]
    assert group_values(pl.Series([1, None, 2]), by).to_list() == ["1", None, "2"]
    assert group_values(pl.Series([True, None]), by).to_list() == ["true", None]
    assert group_values(pl.Series([None, None]), by).to_list() == [None, None]


def test_tiers_begin_at_their_cuts() -> None:
    tiers = ShardGroups(by="score", cuts=(0.2, 0.3), names=("low", "mid", "high"))
    numbers = pl.Series([0.1, 0.2, 0.25, 0.3, 9.0, None, float("nan"), -float("inf")])
    assert group_values(numbers, tiers).to_list() == ["low", "mid", "mid", "high", "high", None, None, "low"]
    assert group_values(pl.Series([1, 0], dtype=pl.Int32), ShardGroups(by="n", cuts=(1,))).to_list() == [
        "tier1",
        "tier0",
    ]
    assert group_values(pl.Series([], dtype=pl.Float32), tiers).to_list() == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cuts": (0.3, 0.2)}, "cuts: the numbers must rise"),
        ({"cuts": (float("nan"),)}, "cuts: the numbers must rise"),
        ({"cuts": (1.0,), "names": ("a",)}, "1 cuts make 2 tiers; 1 are named"),
        ({"names": ("a",)}, "names: are those of tiers"),
        ({"cuts": (1.0,), "names": ("a", "A B")}, "names: 'A B' must be"),
        ({"cuts": (1.0,), "names": ("a", "none")}, "names: 'none' must be"),
        ({"cuts": (1.0,), "names": ("a", "a")}, "given once"),
        ({"min_samples": 0}, "min_samples must be at least 1"),
    ],
)
def test_settings_that_cannot_be(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ShardGroups(by="score", **keys)


def test_columns_that_make_no_groups() -> None:
    with pytest.raises(UsageError, match="Float64; group by text or whole numbers, or give cuts"):
        group_values(pl.Series([0.5]), ShardGroups(by="score"))
    with pytest.raises(UsageError, match="String; cuts need numbers"):
        group_values(pl.Series(["a"]), ShardGroups(by="lang", cuts=(1.0,)))


def test_small_groups_are_joined_or_refused() -> None:
    samples = {"en": 100, "de": 30, "fr": 3, "pt": 2, None: 1}
    joined = plan_groups(samples, ShardGroups(by="lang", min_samples=10))
    assert list(joined.items()) == [("de", ("de",)), ("en", ("en",)), ("other", ("fr", "pt")), ("none", (None,))]
    with pytest.raises(UsageError, match=r"fr \(3\), pt \(2\) of 'lang' have fewer than 10 samples"):
        plan_groups(samples, ShardGroups(by="lang", min_samples=10, small="refuse"))


def test_tiers_come_from_the_lowest() -> None:
    tiers = ShardGroups(by="score", cuts=(1.0, 2.0), names=("low", "mid", "high"))
    assert list(plan_groups({"high": 1, None: 2, "low": 3, "mid": 4}, tiers)) == ["low", "mid", "high", "none"]


def test_too_many_groups_are_refused() -> None:
    with pytest.raises(UsageError, match=r"makes 1,001 groups of shards, 1,000 are the most"):
        plan_groups({f"v{i}": 1 for i in range(MAX_GROUPS + 1)}, ShardGroups(by="host"))


@given(st.dictionaries(st.none() | st.text(min_size=1, max_size=60), st.integers(1, 100), max_size=30))
def test_every_value_is_in_one_group_of_a_name_that_files_can_have(samples: dict[str | None, int]) -> None:
    planned = plan_groups(samples, ShardGroups(by="source", min_samples=20))
    assert sorted((value for values in planned.values() for value in values), key=str) == sorted(samples, key=str)
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in planned)
    assert planned == plan_groups(dict(reversed(samples.items())), ShardGroups(by="source", min_samples=20))
    for name, values in planned.items():
        assert (name == "none") == (values == (None,))
        assert name == "other" or len(values) == 1


def test_values_that_would_have_one_name_are_told_apart() -> None:
    planned = plan_groups(
        dict.fromkeys(("none", "other", "A", "a", "b", "中"), 5) | {None: 5}, ShardGroups(by="source")
    )
    assert len(planned) == 7
    assert planned["b"] == ("b",)
    assert planned["none"] == (None,)
    assert sorted(re.sub("_[0-9a-f]{8}$", "", name) for name in planned) == [
        "a",
        "a",
        "b",
        "none",
        "none",
        "other",
        "value",
    ]
