from __future__ import annotations

import polars as pl
import pytest

from pairmill.filters.url import Url
from pairmill.filters.verdict import first_reason


def reasons(rule: Url, *urls: str | None) -> list[str | None]:
    return first_reason([rule], pl.DataFrame({"url": urls}, schema={"url": pl.String})).to_list()


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://example.com/a.jpg", True),
        ("https://img.Example.COM:8080/a.jpg", True),
        ("http://a.b.example.com", True),
        ("http://example.com./a", True),
        ("http://user:pw@example.com/a", True),
        ("http://example.com?x=1", True),
        ("http://myexample.com/a.jpg", False),
        ("http://example.com.evil.org/", False),
        ("http://evil.org/http://example.com/", False),
        ("http://evil.org?example.com", False),
        ("http://com/", False),
        ("http://[2001:db8::1]/example.com", False),
        ("example.com", False),
        ("http://cdn.two.co.uk/x", True),
        ("http://two.co.uk/x", True),
        ("http://co.uk/x", False),
        (None, False),
    ],
)
def test_hosts(url, blocked):
    rule = Url(blocked_hosts=("example.com", ".Two.CO.uk"))
    assert reasons(rule, url) == ["url_host_blocked" if blocked else None]


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://a.org/x.SVG", True),
        ("http://a.org/x.svg?y=z.jpg", True),
        ("http://a.org/x.svg#y", True),
        ("http://a.org/x.jpg?y=z.svg", False),
        ("http://a.org/x.svg/y", False),
        ("http://a.svg", False),
        ("http://a.org/svg", False),
    ],
)
def test_extensions(url, blocked):
    assert reasons(Url(blocked_extensions=("svg",)), url) == ["url_extension_blocked" if blocked else None]


def test_a_url_can_be_demanded():
    assert reasons(Url(missing="reject"), None, "http://a.org") == ["missing_url", None]


@pytest.mark.parametrize(
    "parameters",
    [
        {"blocked_hosts": "example.com"},
        {"blocked_hosts": ("http://example.com",)},
        {"blocked_hosts": (".",)},
        {"blocked_hosts": ("",)},
        {"blocked_extensions": (".svg",)},
    ],
)
def test_what_is_no_host_or_ending_is_refused(parameters):
    with pytest.raises(ValueError, match=f"^url: {next(iter(parameters))} (is|has) "):
        Url(**parameters)
