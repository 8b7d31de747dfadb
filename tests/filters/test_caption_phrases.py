from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.filters.caption_phrases import CaptionPhrases
from pairmill.filters.verdict import all_reasons
from pairmill.sharding.value_list import list_file

texts = st.text("aAb \u4e2d\u56fd.\n", max_size=8)
phrases = st.lists(st.text("aAb\u4e2d.", min_size=1, max_size=3), max_size=3).map(tuple)


def python_reasons(rule: CaptionPhrases, caption: str | None) -> list[str]:
    if caption is None:
        return ["missing_caption"]
    compared = str.lower if rule.ignore_case else str
    text = compared(caption.strip())
    hits = (
        ("caption_has_phrase", any(compared(phrase) in text for phrase in rule.contains)),
        ("caption_begins_with_phrase", any(text.startswith(compared(phrase)) for phrase in rule.begins)),
        ("caption_ends_with_phrase", any(text.endswith(compared(phrase)) for phrase in rule.ends)),
    )
    return [reason for reason, hit in hits if hit]


@given(st.lists(st.none() | texts, max_size=12), phrases, phrases, phrases, st.booleans())
def test_equal_to_python(rows, contains, begins, ends, ignore_case):
    if not (contains or begins or ends):
        return
    rule = CaptionPhrases(contains=contains, begins=begins, ends=ends, ignore_case=ignore_case)
    frame = pl.DataFrame({"caption": rows}, schema={"caption": pl.String})
    assert all_reasons([rule], frame).to_list() == [python_reasons(rule, row) for row in rows]


def test_a_list_in_a_file(tmp_path):
    path = tmp_path / "sensitive.txt"
    path.write_text("\u654f\u611f\nBAD\n", encoding="utf-8")
    frame = pl.DataFrame({"caption": ["\u8fd9\u662f\u654f\u611f\u8bcd", "so bad", "good"]})
    rule = CaptionPhrases(contains=list_file(path))
    assert all_reasons([rule], frame).to_list() == [["caption_has_phrase"], ["caption_has_phrase"], []]


@pytest.mark.parametrize("parameters", [{}, {"contains": "a"}, {"begins": ("",)}, {"ends": ()}])
def test_senseless_parameters(parameters):
    with pytest.raises(ValueError, match=r"^caption_phrases: "):
        CaptionPhrases(**parameters)
