from __future__ import annotations

import polars as pl
import pytest

from pairmill.filters.caption_pattern import CaptionPattern
from pairmill.filters.verdict import all_reasons


def test_patterns_are_found_anywhere_unless_anchored():
    frame = pl.DataFrame({"caption": ["IMG_0012.JPG", "a photo", "12", None]})
    rule = CaptionPattern(reject=(r"(?i)^img_\d+", r"^\d+$"), require=(r"[a-z]",))
    assert all_reasons([rule], frame).to_list() == [
        ["caption_matches_pattern", "caption_lacks_pattern"],
        [],
        ["caption_matches_pattern", "caption_lacks_pattern"],
        ["missing_caption"],
    ]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "give reject or require"),
        ({"reject": ("(",)}, r"'\(' is no regular expression: unclosed group"),
        ({"require": (r"(?=a)",)}, "is no regular expression: look-around"),
        ({"reject": "a"}, "reject is 'a'; it must be a list"),
        ({"reject": ("",)}, "it must be a list"),
    ],
)
def test_what_is_no_pattern_is_told_in_a_line(parameters, told):
    with pytest.raises(ValueError, match=f"^caption_pattern: .*{told}") as caught:
        CaptionPattern(**parameters)
    assert "\n" not in str(caught.value)
