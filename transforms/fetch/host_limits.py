"""How many requests at a time one fetcher may have at each host, when others fetch from the same hosts meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class HostLimits:
    """``default`` requests at a time to a host, and another number for some, by ``host_number``."""

    default: int
    others: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, host: str) -> int:
        """The limit of a host, as ``host_key`` gives it."""
        return self.others.get(host_number(host), self.default) if self.others else self.default


def host_number(host: str) -> int:
    """64 bits that stand for a host on every machine; two that meet share one limit."""
    return int.from_bytes(hashlib.blake2b(host.encode("utf-8", "replace"), digest_size=8).digest(), "little")
