"""Which network addresses may be connected to."""

from __future__ import annotations

import ipaddress

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> Address | None:
    """The address that a literal host names (IPv6 with or without a zone), or None for a name."""
    try:
        return ipaddress.ip_address(text.strip("[]").split("%", 1)[0])
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, also looking inside IPv6 forms that carry an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _carried_ipv4(address)
        if inner is not None:
            return is_public(inner)
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    return address.is_global and not special and not address.is_link_local


def _carried_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


class AddressPolicy:
    """Decides on the addresses of one fetch: public ones, plus what the recipe allows by name."""

    def __init__(self, allow_private: bool = False, allow_hosts: tuple[str, ...] = ()) -> None:
        self._allow_private = allow_private
        self._allowed = frozenset(host.lower() for host in allow_hosts)

    def allows(self, host: str, port: int | None, address: str) -> bool:
        """Whether the URL's ``host`` and ``port`` may be reached at ``address``."""
        if self._allow_private or self.names(host, port):
            return True
        parsed = parse_address(address)
        return parsed is not None and is_public(parsed)

    def names(self, host: str, port: int | None) -> bool:
        """Whether the recipe allows this host by name."""
        if not self._allowed:
            return False
        host = host.lower()
        shown = f"[{host}]" if ":" in host else host
        return host in self._allowed or shown in self._allowed or f"{shown}:{port}" in self._allowed
