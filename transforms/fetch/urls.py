"""From what a pool calls a URL to what may be asked for; everything else has a status."""

from __future__ import annotations

import re
import socket

from yarl import URL

from pairmill.transforms.fetch.status import FetchStatus

SCHEMES = ("http", "https")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NUMERIC_HOST = re.compile(r"(0[xX])?[0-9a-fA-F]*[0-9][0-9a-fA-FxX.]*")
MAX_URL_LETTERS = 16_384


class UrlRefused(ValueError):
    """A URL that is not asked for, with the status that says why."""

    def __init__(self, status: FetchStatus, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail)


def parse_url(text: str, base: URL | None = None) -> URL:
    """The URL to request for ``text``, relative to ``base`` for a redirect; raises UrlRefused.

    Surrounding white space is dropped, and so is the fragment. Letters that a URL cannot hold (spaces, non-ASCII) are
    percent-encoded as UTF-8, host names by IDNA; what is encoded already stays as it is. A scheme is never guessed.
    """
    text = text.strip()
    if len(text) > MAX_URL_LETTERS:
        raise UrlRefused(FetchStatus.INVALID_URL, f"{len(text)} letters, more than {MAX_URL_LETTERS}")
    scheme = _SCHEME.match(text)
    named = scheme.group()[:-1].lower() if scheme else None
    if named is not None and named not in SCHEMES and (base is not None or not _is_host_with_port(text)):
        raise UrlRefused(FetchStatus.REFUSED_SCHEME, f"scheme {named[:40]}")
    if base is None and named not in SCHEMES:
        raise UrlRefused(FetchStatus.INVALID_URL, "no scheme" if text else "empty")
    try:
        url = URL(text) if base is None else base.join(URL(text))
        host, _ = url.with_fragment(None).raw_host, url.port
        url = url.with_fragment(None)
    except (ValueError, UnicodeError) as error:
        raise UrlRefused(FetchStatus.INVALID_URL, str(error)[:200]) from error
    if url.scheme not in SCHEMES:
        raise UrlRefused(FetchStatus.REFUSED_SCHEME, f"scheme {url.scheme[:40]}")
    if not host or not host.strip(".") or url.port == 0:
        raise UrlRefused(FetchStatus.INVALID_URL, "no host" if not host else "host or port is impossible")
    if _is_legacy_number(host):
        raise UrlRefused(FetchStatus.INVALID_URL, f"{host[:40]} is not a canonical address")
    return url


def host_key(url: str | None) -> str:
    """The host and port of a URL text, cheap and never raising: requests are counted and limited by it."""
    parts = (url or "").strip().split("/", 3)
    if len(parts) < 3:
        return ""
    return parts[2].rsplit("@", 1)[-1].split("?", 1)[0].split("#", 1)[0].lower()


def _is_host_with_port(text: str) -> bool:
    """``example.com:8080/a.jpg`` looks like a scheme but lacks one."""
    name, _, rest = text.partition(":")
    return "." in name and rest[:1].isdigit()


def _is_legacy_number(host: str) -> bool:
    """Whether the system would read the host as an IPv4 address in an old spelling (127.1, 0x7f.1, 2130706433).

    No honest URL has one; they exist to slip past checks of addresses.
    """
    if not _NUMERIC_HOST.fullmatch(host):
        return False
    try:
        packed = socket.inet_aton(host)
    except OSError:
        return False
    return socket.inet_ntoa(packed) != host
