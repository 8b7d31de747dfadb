from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.filters.no_caption import NoCaption
from pairmill.filters.verdict import first_reason


@settings(deadline=None)
@given(st.lists(st.none() | st.text("a \t\n\x1c\u3000\u200b\x85", max_size=4)))
def test_null_and_blank_captions_are_none(captions):
    frame = pl.DataFrame({"caption": captions}, schema={"caption": pl.String})
    expected = [None if caption and not caption.isspace() else "no_caption" for caption in captions]
    assert first_reason([NoCaption()], frame).to_list() == expected


def test_another_column():
    frame = pl.DataFrame({"alt": ["", "a"]})
    assert first_reason([NoCaption(column="alt")], frame).to_list() == ["no_caption", None]
