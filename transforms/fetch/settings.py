"""The settings of the fetch, as they stand in a recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

MIB = 1 << 20
#: What opts an image out. The first four are img2dataset's; ``none`` is the published short form of noindex, nofollow.
OPT_OUT_DIRECTIVES = ("noai", "noimageai", "noindex", "noimageindex", "none")


@dataclass(frozen=True)
class FetchSettings:
    """How images are fetched. Raises ValueError with one line for a value that cannot work.

    Counts (``concurrency``, …) hold for one worker, but ``per_host`` for all of a run together. It counts the host in
    the pool's URL, not those that it redirects to.

    Time: ``total_timeout_s`` is one deadline per URL. It starts with the first request and covers its redirects, body,
    back-off and every further attempt, so no URL, however slow, is in hand for longer. ``connect_timeout_s`` bounds
    the name lookup, and connection with TLS handshake, of one attempt; running into it is transient.
    ``retries`` counts attempts after the first, only for transient statuses, after ``backoff_s`` doubled each time with
    jitter, or after the server's Retry-After if that is longer; a wait that the deadline does not leave ends the URL.

    Memory: ``prefetch`` images may wait, fetched, for the decoder and the sink. A body up to 1 MiB is not counted; what
    may grow larger is reserved first in a budget of ``buffer_bytes``.

    Address: only addresses of the public internet are connected to, unless ``allow_private_addresses``, or the URL's
    ``host`` or ``host:port`` stands in ``allow_hosts``. This holds for the address behind a name, for literals and for
    every redirect.

    ``user_agent`` begins with the product name that agent-specific X-Robots-Tag lines are compared with; ``contact``
    (a web page or a mail address) is added to it, so that a site can reach the one who fetches.
    """

    engine: Literal["pairmill", "img2dataset"] = "pairmill"
    concurrency: int = 256
    per_host: int = 16
    total_timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    max_bytes: int = 32 * MIB
    max_redirects: int = 5
    retries: int = 2
    backoff_s: float = 1.0
    user_agent: str = "pairmill/0.1 (image-text dataset builder)"
    contact: str = ""
    honour_opt_out: bool = True
    opt_out_directives: tuple[str, ...] = OPT_OUT_DIRECTIVES
    allow_private_addresses: bool = False
    allow_hosts: tuple[str, ...] = ()
    dns: Literal["c-ares", "system"] = "c-ares"
    open_blocks: int = 4
    decode_threads: int = 1
    prefetch: int = 128
    buffer_bytes: int = 256 * MIB

    def __post_init__(self) -> None:
        _check_choice("engine", self.engine, ("pairmill", "img2dataset"))
        _check_choice("dns", self.dns, ("c-ares", "system"))
        for name in ("concurrency", "per_host", "max_bytes", "open_blocks", "decode_threads", "prefetch"):
            _check_least(name, getattr(self, name), 1)
        for name in ("max_redirects", "retries", "backoff_s"):
            _check_least(name, getattr(self, name), 0)
        for name in ("total_timeout_s", "connect_timeout_s"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}: {value} is not a time; give seconds above 0")
        if not math.isfinite(self.backoff_s):
            raise ValueError(f"backoff_s: {self.backoff_s} is not a time; give seconds, 0 or above")
        if self.buffer_bytes < self.max_bytes:
            raise ValueError(f"buffer_bytes: {self.buffer_bytes} is less than max_bytes, {self.max_bytes}; raise it")
        _check_header("user_agent", self.user_agent)
        _check_header("contact", self.contact)
        if not self.agent_token:
            raise ValueError("user_agent: begin with a product name, as in 'pairmill/0.1'")
        for host in self.allow_hosts:
            _check_allowed_host(host)

    @property
    def agent_header(self) -> str:
        """The User-Agent header of every request."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent

    @property
    def agent_token(self) -> str:
        """The product name in the User-Agent, lower case."""
        return self.user_agent.split("/")[0].split(" ")[0].lower()


def _check_choice(name: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ValueError(f"{name}: {value!r} is not known; accepted: {', '.join(accepted)}")


def _check_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise ValueError(f"{name}: {value} is too small; give {least} or more")


def _check_header(name: str, value: str) -> None:
    if not all(" " <= letter <= "~" for letter in value):
        raise ValueError(f"{name}: {value!r} cannot stand in a header; use printable ASCII")


def _check_allowed_host(host: str) -> None:
    if not host or "/" in host or "*" in host or " " in host:
        raise ValueError(f"allow_hosts: {host!r} is not a host; give 'host' or 'host:port', without scheme or wildcard")
