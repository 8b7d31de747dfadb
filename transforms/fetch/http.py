"""One attempt at one URL over HTTP: connection, redirects, opt-out, limits, and a status for whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from pairmill.transforms.fetch.addresses import AddressPolicy, parse_address
from pairmill.transforms.fetch.budget import ByteBudget
from pairmill.transforms.fetch.deadline import deadline_at, move_deadline
from pairmill.transforms.fetch.failures import failure_of
from pairmill.transforms.fetch.outcome import FetchedBytes
from pairmill.transforms.fetch.resolver import GuardedResolver, Lookup, open_lookup
from pairmill.transforms.fetch.retry import parse_retry_after
from pairmill.transforms.fetch.robots_tag import opted_out
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.fetch.status import FetchStatus, status_of_http
from pairmill.transforms.fetch.urls import UrlRefused, parse_url

#: (url, deadline on the event loop's clock, whether more URLs of this host follow) → what one attempt gave.
Fetcher = Callable[[str, float, bool], Awaitable[FetchedBytes]]
OpenFetcher = Callable[[FetchSettings, ByteBudget], AbstractAsyncContextManager[Fetcher]]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Bodies up to this are read without a reservation; most images of the web are smaller.
UNRESERVED_BYTES = 1 << 20
IDLE_CONNECTION_S = 5.0
_READ_BYTES = 1 << 18
_HEADER_BYTES = 32_768
_LAST_OF_HOST = {"Connection": "close"}
_YEAR_S = 3.2e7


@dataclass(slots=True)
class _Answer:
    """What is known of the answer so far, also when the deadline cuts it short."""

    url: URL
    http_status: int | None = None
    body_begun: bool = False
    reserved: int = 0


@asynccontextmanager
async def open_fetcher(
    settings: FetchSettings, budget: ByteBudget, lookup: Lookup | None = None
) -> AsyncIterator[Fetcher]:
    """A fetcher with its connections and name cache, for the running event loop.

    ``lookup`` replaces the name service. Redirects, cookies (none are kept), proxies (none) and retries are not left
    to aiohttp; certificates are checked.
    """
    lookup, close_lookup = (lookup, _nothing) if lookup is not None else open_lookup(settings.dns)
    policy = AddressPolicy(settings.allow_private_addresses, settings.allow_hosts)
    resolver = GuardedResolver(lookup, policy, settings.connect_timeout_s)
    try:
        connector = aiohttp.TCPConnector(
            limit=0, resolver=resolver, use_dns_cache=False, keepalive_timeout=IDLE_CONNECTION_S
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Images are compressed already: asking for "identity" saves both sides work and most bombs.
            headers={
                "User-Agent": settings.agent_header,
                "Accept": "image/*,*/*;q=0.8",
                "Accept-Encoding": "identity",
            },
            read_bufsize=_READ_BYTES,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
        ) as session:
            yield HttpFetcher(session, settings, policy, budget)
    finally:
        await resolver.close()
        await close_lookup()


class HttpFetcher:
    """Requests images over one aiohttp session."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: FetchSettings, policy: AddressPolicy, budget: ByteBudget
    ) -> None:
        self._session = session
        self._settings = settings
        self._policy = policy
        self._budget = budget

    async def __call__(self, url: str, deadline: float, more_follow: bool) -> FetchedBytes:
        """One attempt. Never raises for anything the URL, the network or the server does.

        Raises FetchAborted where this machine cannot open connections any more. A body's reservation is in
        ``reserved`` of the result, for the caller to release; a failed attempt has released its own.
        """
        try:
            answer = _Answer(parse_url(url))
        except UrlRefused as refusal:
            return FetchedBytes(refusal.status, detail=refusal.detail)
        fetched: FetchedBytes | None = None
        try:
            async with deadline_at(deadline) as limit:
                fetched = await self._follow(answer, deadline, limit, None if more_follow else _LAST_OF_HOST)
        except UrlRefused as refusal:
            fetched = FetchedBytes(refusal.status, detail=f"redirected: {refusal.detail}")
        except Exception as error:
            status, detail = failure_of(error, answer.body_begun)
            fetched = FetchedBytes(status, detail=detail)
        finally:
            if fetched is None or fetched.body is None:
                self._budget.release(answer.reserved)
        fetched.http_status = answer.http_status
        fetched.final_url = str(answer.url)
        return fetched

    async def _follow(
        self, answer: _Answer, deadline: float, limit: Any, headers: dict[str, str] | None
    ) -> FetchedBytes:
        for _ in range(self._settings.max_redirects + 1):
            refused = self._refused_literal(answer.url)
            if refused is not None:
                return refused
            async with self._session.get(answer.url, allow_redirects=False, headers=headers) as response:
                answer.http_status = response.status
                location = response.headers.get("Location")
                if response.status not in REDIRECTS or location is None:
                    return await self._receive(response, answer, deadline, limit)
                # Leaving the context keeps the connection if the whole answer came with its headers, and closes it
                # otherwise: reading the rest of a redirect or an error may take for ever.
            answer.url = parse_url(location, base=answer.url)
        return FetchedBytes(FetchStatus.TOO_MANY_REDIRECTS, detail=f"more than {self._settings.max_redirects}")

    def _refused_literal(self, url: URL) -> FetchedBytes | None:
        """A refusal for a host that is an address itself: aiohttp connects to it without asking the resolver."""
        host = url.raw_host or ""
        if parse_address(host) is None or self._policy.allows(host, url.port, host):
            return None
        return FetchedBytes(FetchStatus.REFUSED_ADDRESS, detail=host)

    async def _receive(
        self, response: aiohttp.ClientResponse, answer: _Answer, deadline: float, limit: Any
    ) -> FetchedBytes:
        refused = self._refused_answer(response)
        if refused is not None:
            return refused
        length = response.content_length
        packed = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        answer.body_begun = True
        if length is not None and length <= UNRESERVED_BYTES and not packed:
            body = await response.read()
        else:
            need = self._settings.max_bytes if length is None or packed else length
            longer = await self._read_limited(response, answer, need, deadline, limit)
            if longer is None:
                return FetchedBytes(FetchStatus.TOO_LARGE, detail=f"more than {self._settings.max_bytes} bytes")
            body = longer
        if not body:
            return FetchedBytes(FetchStatus.EMPTY_BODY)
        return FetchedBytes(FetchStatus.OK, body=body, reserved=answer.reserved)

    def _refused_answer(self, response: aiohttp.ClientResponse) -> FetchedBytes | None:
        """What the headers alone decide: an error, an opt-out, an announced length that is none or too much."""
        status = status_of_http(response.status)
        settings = self._settings
        if status is not FetchStatus.OK:
            asked = parse_retry_after(response.headers.get("Retry-After")) if response.status in {429, 503} else None
            return FetchedBytes(status, detail=f"HTTP {response.status}", retry_after_s=asked)
        lines = response.headers.getall("X-Robots-Tag", ()) if settings.honour_opt_out else ()
        if lines:
            directive = opted_out(lines, settings.agent_token, settings.opt_out_directives)
            if directive is not None:
                return FetchedBytes(FetchStatus.OPTED_OUT, detail=f"X-Robots-Tag: {directive}")
        length = response.content_length
        if length is not None and length > settings.max_bytes:
            return FetchedBytes(FetchStatus.TOO_LARGE, detail=f"{length} bytes, more than {settings.max_bytes}")
        return FetchedBytes(FetchStatus.EMPTY_BODY) if length == 0 else None

    async def _read_limited(
        self, response: aiohttp.ClientResponse, answer: _Answer, need: int, deadline: float, limit: Any
    ) -> bytes | None:
        """The body, unpacked, or None once it is longer than max_bytes. ``need`` is reserved before 1 MiB is passed."""
        chunks: list[bytes] = []
        received = 0
        while chunk := await response.content.readany():
            received += len(chunk)
            if received > self._settings.max_bytes:
                return None
            chunks.append(chunk)
            if received > UNRESERVED_BYTES and not answer.reserved:
                await self._reserve(answer, need, deadline, limit)
        return b"".join(chunks)

    async def _reserve(self, answer: _Answer, need: int, deadline: float, limit: Any) -> None:
        """Reserve bytes. Waiting for our own memory is no fault of the server: its deadline stands still meanwhile."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        move_deadline(limit, before + _YEAR_S)
        await self._budget.reserve(need)
        answer.reserved = need
        move_deadline(limit, deadline + loop.time() - before)


async def _nothing() -> None:
    """Close nothing."""
