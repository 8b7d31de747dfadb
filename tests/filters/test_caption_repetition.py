from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.filters.caption_repetition import CaptionRepetition
from pairmill.filters.verdict import first_reason


def python_reason(caption: str | None, max_repeated: float) -> str | None:
    if caption is None:
        return "missing_caption"
    words = caption.lower().split()
    if not words:
        return None
    return "caption_repetitive" if (len(words) - len(set(words))) / len(words) > max_repeated else None


@given(
    st.lists(st.none() | st.lists(st.sampled_from("aAbBc"), max_size=12).map(" ".join), max_size=12),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]) | st.floats(0, 1),
)
def test_equal_to_python(captions, max_repeated):
    frame = pl.DataFrame({"caption": captions}, schema={"caption": pl.String})
    found = first_reason([CaptionRepetition(max_repeated=max_repeated)], frame).to_list()
    assert found == [python_reason(caption, max_repeated) for caption in captions]


def test_a_fifth_may_repeat():
    frame = pl.DataFrame({"caption": ["a b c d A", "a b c a", "A rose is a rose", " "]})
    assert first_reason([CaptionRepetition()], frame).to_list() == [
        None,
        "caption_repetitive",
        "caption_repetitive",
        None,
    ]


@pytest.mark.real_data
def test_equal_to_python_on_real_web_captions(shared_data):
    captions = pl.read_parquet(shared_data / "alt_text" / "laion_style_10000.parquet")["TEXT"]
    found = first_reason([CaptionRepetition()], pl.DataFrame({"caption": captions})).to_list()
    assert found == [python_reason(caption, 0.2) for caption in captions.to_list()]
    assert 50 < sum(reason is not None for reason in found) < 5000


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(ValueError, match=r"^caption_repetition: "):
        CaptionRepetition(max_repeated=share)
