"""Elements of a page: what is told is anyone's text, so no markup is written; trees are built, and serialised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement

#: What an element may hold. None is left out.
Content = Element | str | None

#: No character of HTML: controls, halves of surrogate pairs, what Unicode says is no character.
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_SPACES = re.compile(r"\s+")


def element(tag: str, *contents: Content, **attributes: str | None) -> Element:
    """An element with its contents in order. ``class_`` and ``for_`` stand for the words of Python, _ for a hyphen."""
    named = {name.rstrip("_").replace("_", "-"): clean(text) for name, text in attributes.items() if text is not None}
    made = Element(tag, named)
    append(made, contents)
    return made


def append(parent: Element, contents: Iterable[Content]) -> None:
    """Add further contents behind those that are there."""
    for content in contents:
        if isinstance(content, str):
            _append_text(parent, clean(content))
        elif content is not None:
            parent.append(content)


def named_number(value: float, form: str = ",.0f") -> Element:
    """A number in a table's cell."""
    return element("td", format(value, form), class_="number")


def table(columns: Iterable[tuple[str, bool]], rows: Iterable[Iterable[Content]], caption: str) -> Element:
    """A table with a caption for those who hear it; of each column the title, and whether it holds numbers.

    It stands in a box of its own that scrolls where the page is too narrow.
    """
    columns = list(columns)
    made = element("table", element("caption", caption))
    head = SubElement(SubElement(made, "thead"), "tr")
    for title, numbers in columns:
        head.append(element("th", title, scope="col", class_="number" if numbers else None))
    body = SubElement(made, "tbody")
    for row in rows:
        line = SubElement(body, "tr")
        for (_, numbers), content in zip(columns, row, strict=True):
            line.append(element("td", content, class_="number" if numbers else None))
    return element("div", made, class_="scrolls", tabindex="0", role="region", aria_label=caption)


def clean(text: str) -> str:
    """The text without what is no character of HTML."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str, characters: int) -> str:
    """The text in one line, cut behind so many characters."""
    text = _SPACES.sub(" ", text[: 4 * characters]).strip()
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def _append_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text
