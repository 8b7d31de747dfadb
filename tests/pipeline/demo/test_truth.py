from __future__ import annotations

import polars as pl
import pytest

from pairmill.pipeline.demo.truth import truth_table

TRUTH = pl.DataFrame(
    {
        "row": [0, 1, 2, 3, 4, 5, 6],
        "planted": ["", "", "", "html", "html", "exif", "no_host"],
        "expect": ["kept", "kept", "kept", "not_an_image", "not_an_image", "kept", "unknown_host|dns_error"],
    }
)


def ledger(*reasons: str | None) -> pl.DataFrame:
    rows = {"row": list(range(len(reasons))), "reason": list(reasons)}
    return pl.DataFrame(rows, schema={"row": pl.UInt32, "reason": pl.String})


def test_all_as_expected() -> None:
    table = truth_table(TRUTH, ledger(None, "kept", None, "not_an_image", "not_an_image", None, "dns_error"))
    assert table.rows() == [
        ("", "kept", "kept", 3, 3, 3, 0, ""),
        ("exif", "kept", "kept", 1, 1, 1, 0, ""),
        ("html", "not_an_image", "not_an_image", 2, 2, 2, 0, ""),
        ("no_host", "unknown_host|dns_error", "unknown_host|dns_error", 1, 1, 1, 0, ""),
    ]


def test_what_went_otherwise_is_counted_and_named() -> None:
    seen = ledger("near_duplicate", "near_duplicate", "timeout", None, "not_an_image", "undecodable", "timeout")
    table = truth_table(TRUTH, seen.sample(fraction=1, shuffle=True, seed=1))
    assert table.rows() == [
        ("", "kept", "kept", 3, 0, 0, 3, "near_duplicate 2, timeout 1"),
        ("exif", "kept", "kept", 1, 0, 0, 1, "undecodable 1"),
        ("html", "not_an_image", "not_an_image", 2, 1, 1, 1, "kept 1"),
        ("no_host", "unknown_host|dns_error", "unknown_host|dns_error", 1, 0, 0, 1, "timeout 1"),
    ]
    assert table["rows"].sum() == TRUTH.height


def test_categorical_reasons_are_read_as_text() -> None:
    seen = ledger(None, None, None, "not_an_image", "html", None, "dns_error")
    table = truth_table(TRUTH, seen.with_columns(pl.col("reason").cast(pl.Categorical)))
    assert table.filter(planted="html").select("as_expected", "instead").rows() == [(1, "html 1")]


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match="different rows"):
        truth_table(TRUTH, ledger(None))
    with pytest.raises(ValueError, match="ledger names a row twice"):
        truth_table(TRUTH, pl.concat([ledger(None), ledger(None)]))


def test_what_is_wanted_is_counted_beside_what_is_expected() -> None:
    truth = pl.DataFrame(
        {"row": [0, 1, 2], "planted": ["leaked"] * 3, "expect": ["kept"] * 3, "wanted": ["contaminated"] * 3}
    )
    table = truth_table(truth, ledger(None, "contaminated", "timeout"))
    assert table.rows() == [("leaked", "kept", "contaminated", 3, 1, 1, 2, "contaminated 1, timeout 1")]
