"""The small pieces: settings, statuses, opt-out lines, retries, kinds of text."""

from __future__ import annotations

import pickle
import random
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.transforms.fetch.outcome import FetchedBytes
from pairmill.transforms.fetch.retry import parse_retry_after, retry_wait_s
from pairmill.transforms.fetch.robots_tag import opted_out
from pairmill.transforms.fetch.settings import OPT_OUT_DIRECTIVES, FetchSettings
from pairmill.transforms.fetch.sniff import text_kind
from pairmill.transforms.fetch.status import FetchStatus, parse_status, status_of_http
from pairmill.transforms.image.refusal import REASONS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", "wget"),
        ("dns", "hosts"),
        ("concurrency", 0),
        ("per_host", 0),
        ("open_blocks", 0),
        ("decode_threads", 0),
        ("prefetch", 0),
        ("max_bytes", 0),
        ("max_redirects", -1),
        ("retries", -1),
        ("backoff_s", float("nan")),
        ("backoff_s", float("inf")),
        ("total_timeout_s", 0.0),
        ("total_timeout_s", float("inf")),
        ("connect_timeout_s", float("nan")),
        ("buffer_bytes", 1),
        ("user_agent", "a\r\nCookie: b"),
        ("user_agent", ""),
        ("contact", "ä"),
        ("allow_hosts", ("http://a.test",)),
        ("allow_hosts", ("*",)),
        ("allow_hosts", ("",)),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name}: ") as raised:
        FetchSettings(**{name: value})
    assert "\n" not in str(raised.value)


def test_the_agent_names_itself_and_its_contact():
    settings = FetchSettings(user_agent="Pairmill/1 (x)", contact="mailto:a@b.c")
    assert settings.agent_header == "Pairmill/1 (x) (+mailto:a@b.c)"
    assert settings.agent_token == "pairmill"
    assert FetchSettings().agent_header == FetchSettings().user_agent


def test_every_status_is_its_own_word_with_a_meaning():
    for status in FetchStatus:
        assert str(status) == status == status.value == status.name.lower()
        assert status.meaning
        assert pickle.loads(pickle.dumps(status)) is status
        assert parse_status(status.value) is status
    assert {s.value for s in FetchStatus if s.transient} == {
        "server_error",
        "rate_limited",
        "dns_error",
        "connection_error",
        "timeout",
        "too_slow",
        "unreadable_file",
    }


def test_every_reason_of_the_decoder_is_a_status():
    for reason in REASONS:
        assert not parse_status(reason).transient


@given(st.integers(100, 999))
def test_every_http_code_has_a_status(code):
    assert (status_of_http(code) == "ok") == (code // 100 == 2 and code not in {204, 205, 206})


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["noai"], "noai"),
        (["nofollow, NoImageAI"], "noimageai"),
        (["nofollow", "all"], None),
        (["otherbot: noindex"], None),
        (["otherbot: nofollow, noindex"], None),
        (["pairmill: noindex"], "noindex"),
        (["PairMill: nofollow, none"], "none"),
        (["*: noai"], "noai"),
        (["otherbot: noai, pairmill: noindex"], "noindex"),
        (["otherbot: noai", "noindex"], "noindex"),
        (["max-image-preview: none"], None),
        (["unavailable_after: Wed, 25 Jun 2030 15:00:00 PST, noai"], "noai"),
        (["noai; noindex"], "noai"),
        (["noaim"], None),
        ([""], None),
        ([":", "::", "a:b:noai"], None),
        ([], None),
    ],
)
def test_opt_out_lines(lines, found):
    assert opted_out(lines, "pairmill", OPT_OUT_DIRECTIVES) == found


@given(st.lists(st.text(), max_size=3))
def test_opt_out_lines_of_any_kind_raise_nothing(lines):
    assert opted_out(lines, "pairmill", OPT_OUT_DIRECTIVES) in {None, *OPT_OUT_DIRECTIVES}


def test_waits_double_with_jitter_and_keep_what_was_asked_for():
    settings = FetchSettings(retries=3, backoff_s=2.0)
    rng = random.Random(0)
    failed = FetchedBytes(FetchStatus.SERVER_ERROR)
    for attempts, low, high in ((1, 1.0, 2.0), (2, 2.0, 4.0), (3, 4.0, 8.0)):
        wait = retry_wait_s(failed, attempts, 100.0, settings, rng)
        assert wait is not None
        assert low <= wait <= high
    assert retry_wait_s(failed, 4, 100.0, settings, rng) is None
    assert retry_wait_s(failed, 1, 0.5, settings, rng) is None
    assert retry_wait_s(FetchedBytes(FetchStatus.NOT_FOUND), 1, 100.0, settings, rng) is None
    asked = FetchedBytes(FetchStatus.RATE_LIMITED, retry_after_s=7.0)
    assert retry_wait_s(asked, 1, 100.0, settings, rng) == 7.0
    assert retry_wait_s(asked, 1, 6.0, settings, rng) is None


def test_retry_after_headers():
    assert parse_retry_after("120") == 120.0
    assert parse_retry_after(formatdate(0, usegmt=True)) == 0.0
    in_an_hour = parse_retry_after(formatdate(time.time() + 3600, usegmt=True))
    assert in_an_hour is not None
    assert 3500 < in_an_hour <= 3600
    for nothing in (None, "", "soon", "-5", "1.5e3", "²", "Wed, 99 Foo"):
        assert parse_retry_after(nothing) is None


@given(st.text())
def test_retry_after_of_any_kind_raises_nothing(value):
    wait = parse_retry_after(value)
    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"  <!DOCTYPE html>", "HTML"),
        (b"\xef\xbb\xbf<HTML>", "HTML"),
        (b"<html>caf\xe9</html>", "HTML"),  # Latin-1
        (b"<?xml version='1.0'?><Error/>", "XML"),
        (b"<?xml version='1.0'?>\n<svg>", "SVG"),
        (b'{"a": 1}', "JSON"),
        (b"not here", "text"),
        ("é".encode() * 400, "text"),
        (b"a" + "é".encode() * 400, "text"),
        (b"\xff\xfea\0b\0", "text"),
        (b"\xff\xd8\xff\xe0<html>", None),
        (b"GIF89a<html>", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"BM\x00\x00<html>", None),
        (b"", None),
    ],
)
def test_kinds_of_text(body, kind):
    assert text_kind(body) == kind
