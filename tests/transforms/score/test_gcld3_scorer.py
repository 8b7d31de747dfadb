from __future__ import annotations

import importlib.util

import polars as pl
import pytest

from pairmill.transforms.score.gcld3_scorer import Gcld3Scorer

HAS_GCLD3 = importlib.util.find_spec("gcld3") is not None


def test_the_column_is_that_of_laion2b() -> None:
    assert Gcld3Scorer().columns("gcld3") == {"gcld3_is_en": pl.Boolean(), "gcld3_outcome": pl.String()}
    assert Gcld3Scorer().text_columns() == ("caption",)
    assert list(Gcld3Scorer(texts=("caption", "alt")).columns("g")) == [
        "g_is_en", "g_outcome", "g_is_en_alt", "g_outcome_alt",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="gcld3: texts names a column twice"):
        Gcld3Scorer(texts=("caption", "caption"))
    with pytest.raises(ValueError, match="gcld3: language is 'e1'; give a code such as en"):
        Gcld3Scorer(language="e1")


@pytest.mark.skipif(HAS_GCLD3, reason="gcld3 is here")
def test_a_missing_package_is_one_line_before_any_work() -> None:
    with pytest.raises(
        ValueError, match=r"^the scorer gcld3 needs the package of that name; pip install gcld3"
    ) as raised:
        Gcld3Scorer().identity()
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(not HAS_GCLD3, reason="gcld3 is not here (it builds with protoc)")
def test_english_is_told_from_german() -> None:
    texts = ["A brown dog is running\nthrough the green grass", "Ein brauner Hund rennt durch das gr\u00fcne Gras"]
    measured = Gcld3Scorer().load("cpu", "fp32").score(texts)  # type: ignore[union-attr,arg-type]
    assert measured["is_en"].tolist() == [True, False]
    assert Gcld3Scorer().identity()["bytes"] == [0, 1000]
