from __future__ import annotations

import polars as pl
import pytest

from pairmill.filters.caption_script import CaptionScript
from pairmill.filters.verdict import first_reason


def test_by_default_one_to_thirty_one_chinese_characters():
    captions = ["\u4e2d", "\u4e2d" * 31, "\u4e2d" * 32, "abc", "\u3042\u30a2", "", None, "a\u4e2db", "\U00020000"]
    assert first_reason([CaptionScript()], pl.DataFrame({"caption": captions})).to_list() == [
        None,
        None,
        "caption_too_much_of_script",
        "caption_too_little_of_script",
        "caption_too_little_of_script",
        "caption_too_little_of_script",
        "missing_caption",
        None,
        None,
    ]


def test_another_script_and_open_bounds():
    frame = pl.DataFrame({"caption": ["\u3042", "abc", "\u3042" * 99]})
    rule = CaptionScript(script="Hiragana", max_chars=None)
    assert first_reason([rule], frame).to_list() == [None, "caption_too_little_of_script", None]
    rule = CaptionScript(script="Latin", min_chars=None, max_chars=2)
    assert first_reason([rule], frame).to_list() == [None, "caption_too_much_of_script", None]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"script": "Hann"}, "there is no script 'Hann' in Unicode"),
        ({"script": "Han}"}, "name a script of Unicode"),
        ({"min_chars": 9, "max_chars": 8}, "min_chars 9 is above max_chars 8"),
        ({"min_chars": -1}, "min_chars is -1"),
    ],
)
def test_senseless_parameters(parameters, told):
    with pytest.raises(ValueError, match=f"^caption_script: .*{told}"):
        CaptionScript(**parameters)
