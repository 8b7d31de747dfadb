"""The name service of one fetch: a cache in the process, no address that is not allowed, failures told apart."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from pairmill.transforms.fetch.addresses import AddressPolicy

#: Finds the numeric addresses of a host; raises UnknownHost or DnsFailure.
Lookup = Callable[[str], Awaitable[list[str]]]

CACHE_S = 300.0
FAILURE_CACHE_S = 30.0
MAX_CACHED = 50_000
_SYSTEM_THREADS = 32
# The codes of c-ares' ares.h that say "there is no such name"; every other is a failure to find out.
_ARES_NO_NAME = frozenset({1, 4, 8})
_SYSTEM_NO_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class UnknownHost(OSError):
    """The name service says that there is no such host."""


class DnsFailure(OSError):
    """The name service failed, or did not answer in time."""


class AddressRefused(OSError):
    """The host has no address that may be connected to."""


class GuardedResolver(AbstractResolver):
    """Resolves hosts for aiohttp, which connects to exactly the addresses returned here and never asks twice.

    So an address is checked at the moment it is used: a name that pointed to a public address before and to a private
    one now is refused. Requests for one host at a time share one lookup, and one that gives up does not end it.
    """

    def __init__(self, lookup: Lookup, policy: AddressPolicy, timeout_s: float) -> None:
        self._lookup = lookup
        self._policy = policy
        self._timeout_s = timeout_s
        self._known: dict[str, tuple[float, list[str] | OSError]] = {}
        self._asking: dict[str, asyncio.Task[list[str]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The allowed addresses of a host; raises UnknownHost, DnsFailure or AddressRefused."""
        addresses = await self._addresses(host.lower())
        allowed = [address for address in addresses if self._policy.allows(host, port, address)]
        if not allowed:
            raise AddressRefused(f"{host} is {addresses[0]}" if addresses else f"{host} has no address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in allowed
        ]

    async def close(self) -> None:
        """End the lookups that nobody waits for any more."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _addresses(self, host: str) -> list[str]:
        now = asyncio.get_running_loop().time()
        known = self._known.get(host)
        if known is not None and known[0] > now:
            if isinstance(known[1], OSError):
                raise type(known[1])(*known[1].args)
            return known[1]
        task = self._asking.get(host)
        if task is None:
            task = self._asking[host] = asyncio.ensure_future(self._ask(host))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _ask(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await asyncio.wait_for(self._lookup(host), self._timeout_s)
            self._remember(host, loop.time() + CACHE_S, found)
        except asyncio.TimeoutError:
            failure = DnsFailure(f"no answer in {self._timeout_s:g} s")
            self._remember(host, loop.time() + FAILURE_CACHE_S, failure)
            raise failure from None
        except OSError as error:
            # A failure of the service may pass sooner than a retry comes: only "no such name" is remembered.
            if isinstance(error, UnknownHost):
                self._remember(host, loop.time() + FAILURE_CACHE_S, error)
            raise
        finally:
            del self._asking[host]
        return found

    def _remember(self, host: str, until: float, what: list[str] | OSError) -> None:
        if len(self._known) >= MAX_CACHED:
            self._known.pop(next(iter(self._known)))
        self._known[host] = (until, what)


def open_lookup(kind: str) -> tuple[Lookup, Callable[[], Awaitable[None]]]:
    """A lookup for the running event loop, and how to close it: by c-ares, or by the system's getaddrinfo.

    c-ares asks thousands of names at once; getaddrinfo holds a thread for each, up to 32.
    """
    return _open_ares() if kind == "c-ares" else _open_system()


def _open_ares() -> tuple[Lookup, Callable[[], Awaitable[None]]]:
    import aiodns

    resolver = aiodns.DNSResolver(timeout=3.0, tries=3)

    async def lookup(host: str) -> list[str]:
        try:
            found: Any = await resolver.getaddrinfo(host, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            kind = UnknownHost if error.args and error.args[0] in _ARES_NO_NAME else DnsFailure
            raise kind(str(error.args[-1]) if error.args else "") from error
        return [_text(node.addr[0]) for node in found.nodes]

    async def close() -> None:
        if hasattr(resolver, "close"):  # aiodns 3.3
            await resolver.close()
        else:
            resolver.cancel()

    return lookup, close


def _open_system() -> tuple[Lookup, Callable[[], Awaitable[None]]]:
    threads = ThreadPoolExecutor(_SYSTEM_THREADS, thread_name_prefix="pairmill-dns")

    async def lookup(host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(threads, _system_addresses, host)
        except (socket.gaierror, UnicodeError) as error:
            gone = isinstance(error, UnicodeError) or error.errno in _SYSTEM_NO_NAME
            raise (UnknownHost if gone else DnsFailure)(str(error)[:200]) from error
        return list(dict.fromkeys(found))

    async def close() -> None:
        threads.shutdown(wait=False, cancel_futures=True)

    return lookup, close


def _system_addresses(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


def _text(address: bytes | str) -> str:
    return address.decode("ascii") if isinstance(address, bytes) else address


def _retrieve(task: asyncio.Task[list[str]]) -> None:
    """Read a lookup's failure, also where all who asked have gone, so that asyncio does not print it."""
    if not task.cancelled():
        task.exception()
