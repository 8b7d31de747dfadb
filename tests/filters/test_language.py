from __future__ import annotations

import polars as pl
import pytest

from pairmill.filters.language import Language
from pairmill.filters.verdict import first_reason

FRAME = pl.DataFrame(
    {"lang": ["en", "de", "en", "fr", None, "en"], "lang_confidence": [0.9, 0.9, 0.2, 0.1, 0.9, None]},
    schema={"lang": pl.String, "lang_confidence": pl.Float32},
)


def test_by_default_english_without_a_threshold():
    expected = [None, "language_not_kept", None, "language_not_kept", "missing_lang", None]
    assert first_reason([Language()], FRAME).to_list() == expected


def test_a_confidence_can_be_asked_for():
    rule = Language(keep=("en", "de"), min_confidence=0.5)
    assert rule.columns() == ("lang", "lang_confidence")
    assert first_reason([rule], FRAME).to_list() == [
        None,
        None,
        "language_uncertain",
        "language_not_kept",
        "missing_lang",
        "missing_lang_confidence",
    ]


def test_a_confidence_on_the_bound_passes():
    frame = pl.DataFrame({"lang": ["en"], "lang_confidence": [0.65]}, schema_overrides={"lang_confidence": pl.Float32})
    assert first_reason([Language(min_confidence=0.65)], frame).to_list() == [None]


@pytest.mark.parametrize("keep", [(), "en", ("en", ""), (None,)])
def test_keep_lists_codes(keep):
    with pytest.raises(ValueError, match=r"language: keep is .*; it must list at least one language code"):
        Language(keep=keep)


def test_a_confidence_above_one_cannot_be_met():
    with pytest.raises(ValueError, match="language: min_confidence 65 is above the highest confidence"):
        Language(min_confidence=65)
