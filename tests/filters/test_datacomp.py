from __future__ import annotations

import random
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.filters.datacomp import (
    BasicFilter,
    ClipScore,
    ImageBased,
    ImageBasedClipScore,
    Laion2B,
    NoFilter,
    TextBased,
    basic_filter,
)
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


scores = st.lists(st.none() | st.sampled_from([0.25, 0.28, 0.2]) | st.floats(width=32), max_size=20)


def score_frame(values: list[float | None], english: bool | None = True) -> pl.DataFrame:
    schema = {"clip_b32_similarity_score": pl.Float32, "gcld3_is_en": pl.Boolean}
    return pl.DataFrame({"clip_b32_similarity_score": values, "gcld3_is_en": [english] * len(values)}, schema=schema)


@given(scores, st.sampled_from([0.25, 0.28]) | st.floats(-1, 1))
def test_clip_score_is_row_equal(values, threshold):
    """``df[df[key] >= threshold]`` on pandas' float32 column: the threshold is rounded to it, NaN and null fail."""
    column = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    rules = ClipScore(threshold=threshold).rules()
    assert first_reason(rules, score_frame(values)).is_null().to_list() == (column >= threshold).tolist()


def test_clip_score_has_the_published_threshold():
    frame = score_frame([0.25, 0.2499, None, float("nan")])
    missing = "missing_clip_b32_similarity_score"
    assert (
        first_reason(ClipScore().rules(), frame).to_list()
        == [None, "clip_b32_similarity_score_too_low"] + [missing] * 2
    )
    with pytest.raises(ValueError, match="clip_score: give a threshold: DataComp published none for l14"):
        ClipScore(arch="l14")
    assert ClipScore(arch="l14", threshold=0.2).rules()[0].columns() == ("clip_l14_similarity_score",)
    assert ClipScore(column="clip_similarity").rules()[0].columns() == ("clip_similarity",)
    with pytest.raises(ValueError, match="arch is 'b16'; it must be 'b32' or 'l14'"):
        ClipScore(arch="b16")


@given(scores, st.booleans() | st.none())
def test_laion2b_is_row_equal(values, english):
    column = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    expected = ((column >= 0.28) & (english is True)).tolist()
    assert first_reason(Laion2B().rules(), score_frame(values, english)).is_null().to_list() == expected


def test_the_sets_are_named_as_datacomp_names_them():
    sets = (NoFilter(), BasicFilter(), TextBased(words=("dog",)), ClipScore(), Laion2B(), ImageBased(clusters=(1,)))
    assert [rules.name for rules in sets] == [
        "no_filter",
        "basic_filter",
        "text_based",
        "clip_score",
        "laion2b",
        "image_based",
    ]
    both = ImageBasedClipScore(clusters=(1,))
    assert both.name == "image_based_intersect_clip_score"
    assert both.rules() == ClipScore().rules() + ImageBased(clusters=(1,)).rules()
    assert NoFilter().rules() == ()
    assert BasicFilter().rules() == basic_filter()
    frame = pl.DataFrame({"caption": ["a", None]})
    assert first_reason(NoFilter().rules(), frame).to_list() == [None, None]
