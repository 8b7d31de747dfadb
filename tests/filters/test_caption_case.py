from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.filters.caption_case import CaptionCase
from pairmill.filters.verdict import all_reasons


def python_reasons(rule: CaptionCase, caption: str | None) -> list[str]:
    if caption is None:
        return ["missing_caption"]
    capital = [unicodedata.category(word[0]) in ("Lu", "Lt") for word in caption.split()]
    reasons = []
    if rule.first_word and not (capital and capital[0]):
        reasons.append("caption_not_capitalised")
    if rule.max_capital_words is not None and capital and sum(capital) / len(capital) > rule.max_capital_words:
        reasons.append("caption_too_capitalised")
    return reasons


RULES = [CaptionCase(), CaptionCase(max_capital_words=0.5), CaptionCase(first_word=False, max_capital_words=0.3)]
words = st.sampled_from(["A", "a", "Ab", "\u01c5x", "3", "\u00c4", '"A', "", "\n", "\x1c"])


@given(st.lists(st.none() | st.lists(words, max_size=8).map(" ".join), max_size=12), st.sampled_from(RULES))
def test_equal_to_python(captions, rule):
    frame = pl.DataFrame({"caption": captions}, schema={"caption": pl.String})
    assert all_reasons([rule], frame).to_list() == [python_reasons(rule, caption) for caption in captions]


@pytest.mark.real_data
@pytest.mark.parametrize("rule", RULES)
def test_equal_to_python_on_real_web_captions(shared_data, rule):
    captions = pl.read_parquet(shared_data / "alt_text" / "laion_style_10000.parquet")["TEXT"]
    found = all_reasons([rule], pl.DataFrame({"caption": captions})).to_list()
    assert found == [python_reasons(rule, caption) for caption in captions.to_list()]


@pytest.mark.parametrize("share", [-1, 2])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(ValueError, match=r"^caption_case: "):
        CaptionCase(max_capital_words=share)
