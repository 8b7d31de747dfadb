"""A whole page: its head, its style, its sections and the way between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, tostring

from pairmill.pipeline.page.element import Content, element
from pairmill.pipeline.page.style import STYLE

#: Nothing is fetched and nothing runs, whatever stands in the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Section:
    """A part of a page: its place in links, its title, what it holds."""

    name: str
    title: str
    contents: Sequence[Content] = field(default=())


def write_document(title: str, subtitle: Sequence[Content], sections: Sequence[Section]) -> bytes:
    """The page in UTF-8. Sections without contents are left out."""
    shown = [section for section in sections if any(content is not None for content in section.contents)]
    html = element("html", _head(title), element("body"), lang="en")
    body = html[1]
    body.append(element("a", "Skip to the contents", href="#contents", class_="skip"))
    links = [element("li", element("a", section.title, href=f"#{section.name}")) for section in shown]
    body.append(
        element(
            "header",
            element("h1", title),
            *subtitle,
            element("nav", element("ul", *links), aria_label="Sections") if len(links) > 1 else None,
        )
    )
    body.append(element("main", *(_section(section) for section in shown), id="contents"))
    return b"<!DOCTYPE html>\n" + tostring(html, encoding="utf-8", method="html") + b"\n"


def figures(facts: Sequence[tuple[str, str]]) -> Element:
    """The few numbers that stand first: (value, what it is)."""
    return element(
        "dl",
        *(element("div", element("dt", what), element("dd", value)) for value, what in facts),
        class_="figures",
    )


def _head(title: str) -> Element:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", STYLE),
    )


def _section(section: Section) -> Element:
    heading = f"{section.name}-title"
    return element(
        "section",
        element("h2", section.title, id=heading),
        *section.contents,
        id=section.name,
        aria_labelledby=heading,
    )
