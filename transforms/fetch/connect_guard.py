"""Keeping code that is not ours from private addresses: every connection of a guarded thread is looked at.

Python tells its audit hooks the numeric address of each connection before it is made (PEP 578), whatever library
makes it and whichever redirect or name led there. A hook cannot be removed, so one is installed once, and looks only
at threads that are guarded at that moment.
"""

from __future__ import annotations

import functools
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pairmill.transforms.fetch.addresses import AddressPolicy
from pairmill.transforms.fetch.settings import FetchSettings

_here = threading.local()


class ConnectionRefusedByPolicy(OSError):
    """The thread was about to connect to an address that the recipe does not allow."""


@dataclass(frozen=True)
class ConnectGuard:
    """What guarded threads may connect to: what ``policy`` allows, and the addresses of hosts allowed by name."""

    policy: AddressPolicy
    named: frozenset[tuple[str, int | None]] = field(default_factory=frozenset)

    def check(self, address: Any) -> None:
        """Raise ConnectionRefusedByPolicy for a forbidden address, as the socket module gives it."""
        if not isinstance(address, tuple) or len(address) < 2:
            raise ConnectionRefusedByPolicy(f"{address!r} is refused by policy")
        host, port = str(address[0]), address[1]
        if (host, port) in self.named or (host, None) in self.named or self.policy.allows(host, port, host):
            return
        raise ConnectionRefusedByPolicy(f"{host} is refused by policy")


def open_guard(settings: FetchSettings) -> ConnectGuard:
    """The guard of some settings; hosts allowed by name are looked up now, once."""
    _install()
    named = set()
    for allowed in settings.allow_hosts:
        host, colon, port = allowed.rpartition(":")
        with_port = bool(colon) and port.isdigit() and (":" not in host or host.startswith("["))
        name = host if with_port else allowed
        for address in _addresses(name.strip("[]")):
            named.add((address, int(port) if with_port else None))
    return ConnectGuard(AddressPolicy(settings.allow_private_addresses), frozenset(named))


@contextmanager
def guarded(guard: ConnectGuard) -> Iterator[None]:
    """Guard this thread for a while."""
    _here.guard = guard
    try:
        yield
    finally:
        _here.guard = None


def _addresses(name: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


@functools.cache
def _install() -> None:
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in {"socket.connect", "ftplib.connect"}:
        return
    guard = getattr(_here, "guard", None)
    if guard is None:
        return
    if event == "ftplib.connect":
        raise ConnectionRefusedByPolicy("ftp is refused by policy")
    guard.check(arguments[1])
