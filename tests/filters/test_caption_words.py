from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.filters.caption_words import CaptionWords
from pairmill.filters.verdict import all_reasons
from pairmill.sharding.value_list import list_file

words = st.sampled_from(["a", "A", "b", "cat", "Cat,", "\u00c4", "\u00e4"])
captions = st.none() | st.lists(words | st.sampled_from(["", "\n", "\x1c", "\u3000"]), max_size=7).map(" ".join)
lists = st.none() | st.lists(words, max_size=4).map(tuple)


def python_reasons(rule: CaptionWords, caption: str | None) -> list[str]:
    """The rule said again, word by word."""
    if caption is None:
        return ["missing_caption"]
    lower = str.lower if rule.ignore_case else str
    found = [lower(word) for word in caption.split()]
    require, reject, known = (
        None if values is None else {lower(value) for value in values}
        for values in (rule.require, rule.reject, rule.known)
    )
    reasons = []
    if require is not None and not any(word in require for word in found):
        reasons.append("caption_without_required_word")
    if reject is not None and any(word in reject for word in found):
        reasons.append("caption_has_rejected_word")
    pairs = [f"{one} {two}" for one, two in pairwise(found)] if rule.known_pairs else []
    if known is not None and not all(entry in known for entry in found + pairs):
        reasons.append("caption_has_unknown_word")
    return reasons


@given(st.lists(captions, max_size=12), lists, lists, lists, st.booleans(), st.booleans())
def test_equal_to_python(rows, require, reject, known, pairs, ignore_case):
    if (require, reject, known) == (None, None, None):
        return
    if known is not None:
        known = (*known, *(f"{one} {two}" for one in known for two in known[:2]))
    rule = CaptionWords(
        require=require, reject=reject, known=known, known_pairs=pairs and known is not None, ignore_case=ignore_case
    )
    frame = pl.DataFrame({"caption": rows}, schema={"caption": pl.String})
    assert all_reasons([rule], frame).to_list() == [python_reasons(rule, row) for row in rows]


@pytest.mark.real_data
def test_equal_to_python_on_real_web_captions(shared_data, tmp_path):
    rows = pl.read_parquet(shared_data / "alt_text" / "laion_style_10000.parquet")["TEXT"].to_list()
    counts = pl.Series(rows).str.to_lowercase().str.split(" ").explode().value_counts(sort=True)
    frequent = counts.filter(pl.col("count") >= 5).to_series().drop_nulls()
    path = tmp_path / "frequent.txt"
    path.write_text("\n".join(frequent))
    listed = set(frequent)
    frame = pl.DataFrame({"caption": rows})
    for key in ("require", "reject", "known"):
        found = all_reasons([CaptionWords(**{key: list_file(path)})], frame).to_list()
        expected = [python_reasons(CaptionWords(**{key: tuple(listed)}), row) for row in rows[:500]]
        assert found[:500] == expected
        assert sum(bool(reasons) for reasons in found) > 50


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "give require, reject or known"),
        ({"require": "words.txt"}, "a list of words is written"),
        ({"reject": ("a",), "known_pairs": True}, "known_pairs asks for known"),
    ],
)
def test_senseless_parameters(parameters, told):
    with pytest.raises(ValueError, match=f"^caption_words: {told}"):
        CaptionWords(**parameters)
