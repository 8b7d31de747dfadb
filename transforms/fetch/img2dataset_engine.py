"""Fetching by img2dataset's own ``download_image`` and ``Resizer``, for results that must be comparable with its.

The lane, its sinks and its statuses stay pairmill's; what differs is img2dataset's: urllib in threads, one
connection per request, the pixels as its Resizer makes them (no EXIF rotation, no colour conversion), a User-Agent
that begins as Firefox and names us in brackets, and the byte limit, which is looked at after the download. pairmill
adds what img2dataset lacks: private addresses are refused, permanent failures are not retried, and a URL
that outlives its deadline is given up (its thread ends when the server lets it).
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairmill.transforms.fetch.lane import fetch_blocks
from pairmill.transforms.fetch.network import Deliver, Fail
from pairmill.transforms.fetch.outcome import BlockJob, BlockSink, ClosedBlock, FetchedBytes, ResultT, StoreRefused
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.fetch.status import FetchStatus, status_of_http
from pairmill.transforms.fetch.threads import ThreadNetwork
from pairmill.transforms.fetch.urls import UrlRefused, parse_url

HOW_TO_INSTALL = (
    "fetch.engine: img2dataset cannot be imported ({error}); it needs Python < 3.13 and an environment of its own "
    "libraries: pip install 'pairmill[run,img2dataset]' 'setuptools<81'"
)
# What urllib and the socket module say, lower case, in the order of trial.
_ERRORS = (
    ("x-robots-tag", FetchStatus.OPTED_OUT),
    ("refused by policy", FetchStatus.REFUSED_ADDRESS),
    ("infinite loop", FetchStatus.TOO_MANY_REDIRECTS),
    ("unknown url type", FetchStatus.REFUSED_SCHEME),
    ("redirection to url", FetchStatus.REFUSED_SCHEME),
    ("certificate", FetchStatus.TLS_ERROR),
    ("ssl", FetchStatus.TLS_ERROR),
    ("timed out", FetchStatus.TIMEOUT),
    ("errno -2]", FetchStatus.UNKNOWN_HOST),
    ("errno -5]", FetchStatus.UNKNOWN_HOST),
    ("errno -3]", FetchStatus.DNS_ERROR),
    ("temporary failure in name", FetchStatus.DNS_ERROR),
    ("errno", FetchStatus.CONNECTION_ERROR),
    ("remote end closed", FetchStatus.CONNECTION_ERROR),
    ("incompleteread", FetchStatus.CONNECTION_ERROR),
    ("control characters", FetchStatus.INVALID_URL),
    ("codec can't encode", FetchStatus.INVALID_URL),
    ("label", FetchStatus.INVALID_URL),
)


@dataclass(frozen=True)
class Resized:
    """What img2dataset's Resizer made of one image: encoded bytes, with sizes as it counts them, in pixels."""

    fetched: bytes
    data: bytes
    width: int
    height: int
    original_width: int
    original_height: int


def fetch_blocks_by_img2dataset(
    jobs: Iterable[BlockJob],
    settings: FetchSettings,
    resize: Mapping[str, Any],
    measure: Callable[[Resized], Any],
    open_sink: Callable[[BlockJob], BlockSink[ResultT]],
    *,
    root: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[ClosedBlock[ResultT]]:
    """As ``fetch_blocks``, with img2dataset's downloader and its ``Resizer(**resize)``.

    ``measure`` makes of its result what the sink keeps. ValueError, before any work, where img2dataset is not
    installed or its Resizer does not take ``resize``.
    """
    downloader, resizer_module = _import_img2dataset()
    try:
        resizer = resizer_module.Resizer(**resize)
    except TypeError as error:
        raise ValueError(f"img2dataset's Resizer does not take this resize policy: {error}") from error
    directives = set(settings.opt_out_directives) if settings.honour_opt_out else set()
    download = functools.partial(_download, downloader.download_image, settings, directives)

    def store(body: bytes) -> Any:
        data, width, height, original_width, original_height, error = resizer(io.BytesIO(body))
        if error is not None:
            raise StoreRefused(FetchStatus.UNDECODABLE, str(error)[:200])
        return measure(Resized(body, data, width, height, original_width, original_height))

    def open_network(deliver: Deliver, fail: Fail) -> ThreadNetwork:
        return ThreadNetwork(settings, deliver, fail, download)

    return fetch_blocks(jobs, settings, store, open_sink, root=root, progress=progress, open_network=open_network)


def _import_img2dataset() -> tuple[Any, Any]:
    try:
        from img2dataset import downloader, resizer
    except Exception as error:
        raise ValueError(HOW_TO_INSTALL.format(error=f"{type(error).__name__}: {error}")) from error
    # Its way of silencing decoders points the whole process' stdout and stderr elsewhere while it works: two threads
    # at once leave them there for ever.
    resizer.SuppressStdoutStderr = contextlib.nullcontext
    return downloader, resizer


def _download(download_image: Any, settings: FetchSettings, directives: set[str], url: str) -> FetchedBytes:
    """One attempt by img2dataset's function, its error text read back into a status."""
    try:
        parse_url(url)
    except UrlRefused as refusal:
        return FetchedBytes(refusal.status, detail=refusal.detail)
    row = (0, url)
    _, stream, error = download_image(row, settings.connect_timeout_s, settings.agent_token, directives)
    if stream is None:
        code = _http_code(error)
        return FetchedBytes(_status_of_text(error, code), detail=str(error)[:200], http_status=code)
    body = stream.getvalue()
    if len(body) > settings.max_bytes:
        return FetchedBytes(FetchStatus.TOO_LARGE, detail=f"{len(body)} bytes, more than {settings.max_bytes}")
    return FetchedBytes(FetchStatus.OK, body=body) if body else FetchedBytes(FetchStatus.EMPTY_BODY)


def _http_code(error: str) -> int | None:
    start = "HTTP Error "
    code = error[len(start) :].split(":", maxsplit=1)[0] if error.startswith(start) else ""
    return int(code) if code.isascii() and code.isdigit() else None


def _status_of_text(error: str, code: int | None) -> FetchStatus:
    text = error.lower()
    fallback = FetchStatus.BAD_RESPONSE if code is None else status_of_http(code)
    return next((status for words, status in _ERRORS if words in text), fallback)
