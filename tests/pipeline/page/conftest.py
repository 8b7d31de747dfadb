"""Pages are read by a parser of HTML that takes no mistake, and looked at as a browser and its reader would."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from PIL import Image

#: Every tag that a page may have.
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "a",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "nav",
        "ul",
        "li",
        "main",
    ),
    *("section", "dl", "dt", "dd", "div", "span", "b", "i", "small", "table", "caption", "thead", "tbody", "tr", "th"),
    *("td", "figure", "figcaption", "img", "details", "summary", "pre", "time", "svg", "g", "rect", "path", "text"),
}
#: What the web writes where a caption is expected.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</figcaption></li></ul><style>*{display:none}</style>",
    "' onload='alert(1)",
    "<!-- <svg onload=alert(1)> --> ]]> &lt;b&gt; &#x3C;script&#x3E;",
    "javascript:alert(1)",
    "\x00\x08\x1b[31m\x7f\x9b and \ud800 half",
    "\u202egnp.exe \u2066 right to left",
    "</style></title></textarea><iframe src=//evil.example>",
    "{{ 7 * 7 }} ${7*7} %(x)s",
)


@dataclass(frozen=True)
class Page:
    """A parsed page."""

    root: Element

    def all(self, tag: str) -> list[Element]:
        """Every element of that tag, in order."""
        return list(self.root.iter(tag))

    @property
    def text(self) -> str:
        """All that is told in words."""
        body = self.root.find("body")
        return re.sub(r"\s+", " ", " ".join("".join(body.itertext()).split())) if body is not None else ""

    def section(self, name: str) -> Element:
        """A section by its id."""
        (found,) = [each for each in self.all("section") if each.get("id") == name]
        return found

    def names_of_sections(self) -> list[str]:
        """In order."""
        return [str(each.get("id")) for each in self.all("section")]


def _links(root: Element) -> Iterator[str]:
    for each in root.iter():
        for name in ("src", "href", "action", "formaction", "data", "srcset", "poster", "xlink:href"):
            if name in each.attrib:
                yield each.attrib[name]


def check_page(page: bytes) -> Page:
    """Parse a page, and assert what is true of every page: valid, without scripts or network, and for all readers."""
    import html5lib

    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    tags = {each.tag for each in root.iter() if isinstance(each.tag, str)}
    names = {tag.removeprefix("{http://www.w3.org/2000/svg}") for tag in tags}
    assert names <= TAGS, names - TAGS
    for each in root.iter():
        assert not [name for name in each.attrib if str(name).lower().startswith("on")]
    for link in _links(root):
        assert link.startswith(("data:image/jpeg;base64,", "#")), link[:80]
    (style,) = root.iter("style")
    assert "@import" not in str(style.text)
    assert "url(" not in str(style.text)
    policy = [each.get("content") for each in root.iter("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1
    assert "default-src 'none'" in str(policy[0])
    assert "script" not in str(policy[0])
    assert root.get("lang") == "en"
    (title,) = root.find("head").iter("title")  # type: ignore[union-attr]
    assert title.text
    assert [each.tag for each in root.iter() if each.tag in ("h1", "main")] == ["h1", "main"]
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    for link in _links(root):
        assert link.startswith("data:") or link.removeprefix("#") in ids
    assert all(image.get("alt") for image in root.iter("img"))
    svg = [each for each in root.iter() if str(each.tag).endswith("svg")]
    assert all(each.get("role") == "img" and each.get("aria-label") for each in svg)
    assert all(each.find("caption") is not None for each in root.iter("table"))
    return Page(root)


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    pytest.importorskip("pygal", reason="pages need pygal: pip install 'pairmill[pages]'")
    pytest.importorskip("html5lib", reason="pages are read with html5lib")


@pytest.fixture(scope="session")
def read_page() -> Callable[[bytes], Page]:
    """Parses a page strictly and checks what is true of every page."""
    return check_page


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """Captions that mean harm."""
    return HOSTILE


def drawn(width: int, height: int, **save: Any) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, save.pop("format", "JPEG"), **save)
    return file.getvalue()


@pytest.fixture(scope="session")
def draw_picture() -> Callable[..., bytes]:
    """Encoded bytes of a picture of that width and height."""
    return drawn


@pytest.fixture
def write_shards(tmp_path: Path) -> Callable[..., Path]:
    """Writes anyone's shards: of each shard its samples, of each sample its members by extension."""

    def write(shards: Sequence[Sequence[dict[str, Any]]], name: str = "shards") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number, samples in enumerate(shards):
            with tarfile.open(folder / f"{number:05d}.tar", "w") as archive:
                for at, members in enumerate(samples):
                    for extension, data in members.items():
                        info = tarfile.TarInfo(f"{number:05d}{at:04d}.{extension}")
                        text = json.dumps(data) if isinstance(data, dict) else data
                        stored = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
                        info.size = len(stored)
                        archive.addfile(info, io.BytesIO(stored))
        return folder

    return write
