from __future__ import annotations

import random
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.filters.datacomp import basic_filter
from pairmill.filters.verdict import first_reason
from pairmill.transforms.language import identify_languages


def datacomp_keeps(text: str, lang: str, width: int, height: int) -> bool:
    """DataComp's basic_filter, said again from its description, given the language of the text."""
    shorter, longer = min(width, height), max(width, height)
    with_area = shorter != 0  # their division by zero gives inf or NaN, and neither is at most 3
    return (
        lang == "en"
        and len(text.split()) > 2
        and len(text) > 5
        and shorter >= 200
        and with_area
        and longer / shorter <= 3.0
    )


def ours(texts: list[str], langs: list[str | None], widths: list[int], heights: list[int]) -> list[bool]:
    frame = pl.DataFrame(
        {"caption": texts, "lang": langs, "original_width": widths, "original_height": heights},
        schema={"caption": pl.String, "lang": pl.String, "original_width": pl.Int64, "original_height": pl.Int64},
    )
    return first_reason(basic_filter(), frame).is_null().to_list()


def fasttext_top(text: str) -> str:
    """The language as DataComp asks for it: blank texts too, which the model calls English."""
    return identify_languages([text])[0][0] or "en"


white = "".join(chr(c) for c in range(sys.maxunicode + 1) if chr(c).isspace())
texts = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from(white)) | st.lists(
    st.sampled_from(["a", "the dog", "ein Hund", "\n", "\x1c", "\u3000", "\u200b"]), max_size=6
).map(" ".join)
sides = st.integers(0, 700) | st.sampled_from([199, 200, 201, 600, 601])


@settings(deadline=None)
@given(st.lists(st.tuples(texts, sides, sides), max_size=10))
def test_row_equal_on_any_text_and_size(rows):
    captions, widths, heights = ([row[i] for row in rows] for i in range(3))
    expected = [datacomp_keeps(t, fasttext_top(t), w, h) for t, w, h in rows]
    assert ours(captions, identify_languages(captions)[0].to_list(), widths, heights) == expected


@pytest.mark.real_data
def test_row_equal_on_real_web_captions(shared_data):
    captions = pl.read_parquet(shared_data / "alt_text" / "laion_style_10000.parquet")["TEXT"].to_list()
    rng = random.Random(0)
    widths = [rng.choice([rng.randint(1, 2000), 199, 200, 600]) for _ in captions]
    heights = [rng.choice([rng.randint(1, 2000), 199, 200, 600]) for _ in captions]
    langs = identify_languages(captions)[0].to_list()
    assert None not in langs
    kept = ours(captions, langs, widths, heights)
    expected = zip(captions, langs, widths, heights, strict=True)
    assert kept == [datacomp_keeps(*row) for row in expected]
    assert 3_000 < sum(kept) < 8_000


def test_a_row_without_a_caption_is_rejected_for_that():
    frame = pl.DataFrame(
        {"caption": [None, " "], "lang": [None, None], "original_width": [300, 300], "original_height": [300, 300]},
        schema_overrides={"lang": pl.String},
    )
    assert first_reason(basic_filter(), frame).to_list() == ["missing_caption", "caption_too_few_words"]
