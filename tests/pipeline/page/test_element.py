"""Text of any kind goes into a page and comes out of it as the same text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.pipeline.page.document import Section, write_document
from pairmill.pipeline.page.element import clean, element, shortened, table

html5lib = pytest.importorskip("html5lib", reason="pages are read with html5lib")
ANY = st.text(st.characters(), max_size=60)


@given(ANY, ANY)
def test_any_text_is_told_as_it_is(text: str, other: str) -> None:
    told = element("p", text, element("b", other), other, title=text)
    page = write_document("t" + text, [], [Section("one", "One", [told])])
    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    (found,) = root.iter("p")
    assert found.get("title") == clean(text)
    assert (found.text or "", found[0].text or "", found[0].tail or "") == (clean(text), clean(other), clean(other))
    assert [each.tag for each in found.iter()] == ["p", "b"]


@given(ANY)
def test_clean_text_stays(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert len(clean(text)) == len(text)
    clean(text).encode("utf-8")


@given(ANY, st.integers(1, 30))
def test_shortened_text_is_one_line(text: str, characters: int) -> None:
    told = shortened(text, characters)
    assert len(told) <= characters
    assert "\n" not in told


def test_a_table_holds_what_its_columns_say() -> None:
    told = table([("name", False), ("rows", True)], [("a", "1")], "Rows by name")
    assert [each.get("class") for each in told.iter("td")] == [None, "number"]
    with pytest.raises(ValueError, match="zip"):
        table([("name", False)], [("a", "1")], "Rows by name")


def test_sections_without_contents_are_left_out() -> None:
    page = write_document("t", [], [Section("one", "One", [None]), Section("two", "Two", ["text"])])
    assert b'id="two"' in page
    assert b'id="one"' not in page
    assert b"<nav" not in page
