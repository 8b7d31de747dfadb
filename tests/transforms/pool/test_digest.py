from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms.pool.digest import digest_block

BLOCK = pl.DataFrame(
    {
        "t": ["a", None, "", "é\n"],
        "i": [1, None, 0, -3],
        "f": [0.5, None, float("nan"), 0.0],
        "b": [True, None, False, True],
        "d": [date(2020, 1, 1), None, date(1970, 1, 1), date(1960, 1, 1)],
        "w": [datetime(2020, 1, 1, 5), None, datetime(1970, 1, 1), datetime(1960, 1, 1)],
        "m": [Decimal("1.50"), None, Decimal(0), Decimal("-2.25")],
    },
    schema_overrides={"m": pl.Decimal(10, 2), "i": pl.Int16},
)


def test_the_digest_of_a_known_block_never_changes() -> None:
    # A new value here makes every work folder of before unreadable for resuming.
    assert digest_block(BLOCK) == "082d67444a01843567aa3023a0e335b8"


def test_memory_layout_does_not_matter() -> None:
    twice = pl.concat([BLOCK[:1], BLOCK[1:3], BLOCK[3:]], rechunk=False)
    padded = pl.concat([BLOCK, BLOCK, BLOCK])[4:8]
    assert digest_block(twice) == digest_block(padded) == digest_block(BLOCK)


@pytest.mark.parametrize(
    "other",
    [
        BLOCK.reverse(),
        BLOCK[:3],
        BLOCK.rename({"t": "u"}),
        BLOCK.select(*reversed(BLOCK.columns)),
        BLOCK.with_columns(pl.col("t").fill_null("")),
        BLOCK.with_columns(pl.col("i").fill_null(0)),
        BLOCK.with_columns(pl.col("f").fill_null(0.0)),
        BLOCK.with_columns(pl.col("b").fill_null(False)),
        BLOCK.with_columns(pl.col("i").cast(pl.Int32)),
        BLOCK.with_columns(pl.col("w").cast(pl.Datetime("ms"))),
    ],
)
def test_another_value_name_order_or_type_is_another_digest(other: pl.DataFrame) -> None:
    assert digest_block(other) != digest_block(BLOCK)


def test_letters_that_move_between_rows_are_seen() -> None:
    one, other = (digest_block(pl.DataFrame({"t": t})) for t in (["ab", "c"], ["a", "bc"]))
    assert one != other


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.text(max_size=5), max_size=6), st.lists(st.none() | st.text(max_size=5), max_size=6))
def test_equal_digests_mean_equal_text(one: list[str | None], other: list[str | None]) -> None:
    digests = [digest_block(pl.DataFrame({"t": t}, schema={"t": pl.String})) for t in (one, other)]
    assert (digests[0] == digests[1]) == (one == other)


def test_nested_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks hold no such column"):
        digest_block(pl.DataFrame({"l": [[1]]}))
