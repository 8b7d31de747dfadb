"""From an exception of the HTTP client to a status."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from pairmill.transforms.fetch.local import MACHINE_ERRNOS
from pairmill.transforms.fetch.outcome import FetchAborted
from pairmill.transforms.fetch.resolver import AddressRefused, DnsFailure, UnknownHost
from pairmill.transforms.fetch.status import FetchStatus

_DETAIL_LETTERS = 200


def failure_of(error: Exception, body_begun: bool) -> tuple[FetchStatus, str]:
    """The status and a short detail for an exception raised by a request; a fault of this machine is raised anew."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    errno = getattr(cause, "errno", None)
    if isinstance(cause, OSError) and errno in MACHINE_ERRNOS:
        raise FetchAborted(
            f"cannot open connections any more ({cause.strerror}); lower concurrency or raise the limit (ulimit -n)"
        ) from error
    return _status_of(error, cause, body_begun), f"{type(cause).__name__}: {cause}"[:_DETAIL_LETTERS]


# The first line that fits decides; a class stands before those it derives from.
_BY_CAUSE: tuple[tuple[type[BaseException], FetchStatus], ...] = (
    (AddressRefused, FetchStatus.REFUSED_ADDRESS),
    (UnknownHost, FetchStatus.UNKNOWN_HOST),
    (DnsFailure, FetchStatus.DNS_ERROR),
    (ssl.SSLError, FetchStatus.TLS_ERROR),
    (ssl.CertificateError, FetchStatus.TLS_ERROR),
    (aiohttp.ClientSSLError, FetchStatus.TLS_ERROR),
    (asyncio.TimeoutError, FetchStatus.TIMEOUT),
    (TimeoutError, FetchStatus.TIMEOUT),
    (aiohttp.InvalidURL, FetchStatus.INVALID_URL),
    (aiohttp.ClientPayloadError, FetchStatus.CONNECTION_ERROR),
    (aiohttp.ClientResponseError, FetchStatus.BAD_RESPONSE),
    (HttpProcessingError, FetchStatus.BAD_RESPONSE),
    (aiohttp.ClientConnectionError, FetchStatus.CONNECTION_ERROR),
    (OSError, FetchStatus.CONNECTION_ERROR),
)


def _status_of(error: Exception, cause: BaseException, body_begun: bool) -> FetchStatus:
    # Whatever else a hostile answer makes the client raise concerns this answer alone.
    status = next((status for kind, status in _BY_CAUSE if isinstance(cause, kind)), FetchStatus.BAD_RESPONSE)
    if status is FetchStatus.TIMEOUT and body_begun:
        return FetchStatus.TOO_SLOW
    if isinstance(error, aiohttp.ClientPayloadError) and "content-encoding" in f"{error} {error.__cause__}".lower():
        return FetchStatus.BAD_RESPONSE
    return status
