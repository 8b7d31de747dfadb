"""The fixed list of what can become of one wanted image; each status is a reason that the ledger may show."""

from __future__ import annotations

from enum import Enum


class FetchStatus(str, Enum):
    """What became of one wanted image; the value is what files hold, ``meaning`` says it in words.

    ``transient`` statuses may end otherwise at another time: the fetch retries them within a URL's deadline, and they
    are what a later run may ask again. All others are permanent and never retried.
    """

    meaning: str
    transient: bool

    def __new__(cls, value: str, meaning: str, transient: bool = False) -> FetchStatus:
        """Make one member: a string with a meaning and whether it is worth another try."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.transient = transient
        return member

    def __str__(self) -> str:
        return str(self.value)

    OK = "ok", "the image was fetched and stored"

    # What the server answered.
    NOT_FOUND = "not_found", "HTTP 404 or 410: the image is gone"
    FORBIDDEN = "forbidden", "HTTP 401, 402, 403, 407 or 451: the server does not give it to us"
    CLIENT_ERROR = "client_error", "another HTTP 4xx"
    SERVER_ERROR = "server_error", "HTTP 5xx", True
    RATE_LIMITED = "rate_limited", "HTTP 429: the server asks for fewer requests", True
    BAD_RESPONSE = "bad_response", "the answer is not valid HTTP, or of a kind that holds no image"
    TOO_MANY_REDIRECTS = "too_many_redirects", "more redirects than max_redirects, or a loop"
    OPTED_OUT = "opted_out", "an X-Robots-Tag header of the answer forbids this use"
    EMPTY_BODY = "empty_body", "the answer or the file holds no byte"
    TOO_LARGE = "too_large", "more than max_bytes, as announced, as received or as unpacked"

    # What the network did.
    UNKNOWN_HOST = "unknown_host", "the name service says that the host does not exist"
    DNS_ERROR = "dns_error", "the name service failed or did not answer", True
    CONNECTION_ERROR = "connection_error", "refused, reset, or closed before the body was complete", True
    TIMEOUT = "timeout", "no connection or no answer in time", True
    TOO_SLOW = "too_slow", "the answer had begun but was not complete at the deadline", True
    TLS_ERROR = "tls_error", "the certificate is not valid for the host, or no secure connection could be agreed"

    # What we do not ask for.
    INVALID_URL = "invalid_url", "not a URL: no scheme, no host, an impossible port, or nothing at all"
    REFUSED_SCHEME = "refused_scheme", "neither http nor https, in the pool or in a redirect"
    REFUSED_ADDRESS = "refused_address", "a private, loopback or reserved address that the recipe does not allow"

    # Files.
    MISSING_FILE = "missing_file", "no such file, or a tar too short for the member"
    REFUSED_PATH = "refused_path", "the path leads out of the pool's folder"
    UNREADABLE_FILE = "unreadable_file", "the file is there but cannot be read", True

    # What the bytes are.
    NOT_AN_IMAGE = "not_an_image", "the bytes are a page, JSON or plain text, or no image of any known kind"
    UNDECODABLE = "undecodable", "an image that is truncated, corrupt, or cannot be decoded"
    UNSUPPORTED_FORMAT = "unsupported_format", "an image of a kind that is not taken"
    TOO_MANY_PIXELS = "too_many_pixels", "more pixels than the recipe takes"
    TOO_SMALL = "too_small", "a side shorter than the recipe takes"
    ANIMATED = "animated", "more than one frame, where the recipe takes only stills"


_HTTP = {
    204: FetchStatus.EMPTY_BODY,
    205: FetchStatus.EMPTY_BODY,
    206: FetchStatus.BAD_RESPONSE,  # a part of a body that nobody asked a part of
    401: FetchStatus.FORBIDDEN,
    402: FetchStatus.FORBIDDEN,
    403: FetchStatus.FORBIDDEN,
    404: FetchStatus.NOT_FOUND,
    407: FetchStatus.FORBIDDEN,
    410: FetchStatus.NOT_FOUND,
    429: FetchStatus.RATE_LIMITED,
    451: FetchStatus.FORBIDDEN,
}
_HTTP_CLASS = {2: FetchStatus.OK, 4: FetchStatus.CLIENT_ERROR, 5: FetchStatus.SERVER_ERROR}
_BY_VALUE = {status.value: status for status in FetchStatus}


def status_of_http(code: int) -> FetchStatus:
    """The status for a final HTTP code (redirects are followed before this is asked)."""
    return _HTTP.get(code) or _HTTP_CLASS.get(code // 100, FetchStatus.BAD_RESPONSE)


def parse_status(value: str) -> FetchStatus:
    """The status of that value; ValueError naming the known ones for any other."""
    status = _BY_VALUE.get(value)
    if status is None:
        raise ValueError(f"{value!r} is no status of a fetch; known: {', '.join(_BY_VALUE)}")
    return status
