from __future__ import annotations

import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.filters.caption_length import CaptionLength, word_count
from pairmill.filters.verdict import first_reason

WHITE = "".join(chr(c) for c in range(sys.maxunicode + 1) if chr(c).isspace())
ALMOST_WHITE = "\u180e\u200b\u200d\u2060\ufeff\x00\x1b\x7f"
texts = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from(WHITE + ALMOST_WHITE + "ab"))


def python_reasons(rule: CaptionLength, caption: str | None) -> str | None:
    if caption is None:
        return "missing_caption"
    words, chars = len(caption.split()), len(caption)
    if rule.min_words is not None and words < rule.min_words:
        return "caption_too_few_words"
    if rule.max_words is not None and words > rule.max_words:
        return "caption_too_many_words"
    if rule.min_chars is not None and chars < rule.min_chars:
        return "caption_too_few_chars"
    if rule.max_chars is not None and chars > rule.max_chars:
        return "caption_too_many_chars"
    return None


def test_words_part_where_python_parts_them_at_every_code_point():
    captions = [f"a{chr(c)}b" for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
    counted = pl.select(words=word_count(pl.lit(pl.Series(captions))))["words"]
    assert counted.to_list() == [len(caption.split()) for caption in captions]


@settings(deadline=None)
@given(
    st.lists(st.none() | texts, max_size=20),
    st.tuples(*[st.none() | st.integers(0, 4)] * 2),
    st.tuples(*[st.none() | st.integers(0, 12)] * 2),
)
def test_equal_to_python_on_any_text(captions, words, chars):
    (min_words, more_words), (min_chars, more_chars) = words, chars
    rule = CaptionLength(
        min_words=min_words,
        max_words=None if more_words is None else (min_words or 0) + more_words,
        min_chars=min_chars,
        max_chars=None if more_chars is None else (min_chars or 0) + more_chars,
    )
    frame = pl.DataFrame({"caption": captions}, schema={"caption": pl.String})
    assert first_reason([rule], frame).to_list() == [python_reasons(rule, caption) for caption in captions]


def test_the_defaults_are_those_of_datacomp():
    frame = pl.DataFrame({"caption": ["a b cd", "a b c", "abcdef gh", "\n a b\u3000cd", ""]})
    assert first_reason([CaptionLength()], frame).to_list() == [
        None,
        "caption_too_few_chars",
        "caption_too_few_words",
        None,
        "caption_too_few_words",
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"min_words": -1}, "min_words is -1; it must be at least 0"),
        ({"max_words": 2}, "min_words 3 is above max_words 2"),
        ({"min_chars": 9, "max_chars": 8}, "min_chars 9 is above max_chars 8"),
    ],
)
def test_senseless_parameters(parameters, message):
    with pytest.raises(ValueError, match=f"^caption_length: {message}"):
        CaptionLength(**parameters)
