"""What goes into a lane and what comes out: wants, blocks of wants, outcomes, and the sink that receives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pairmill.transforms.fetch.status import FetchStatus, parse_status

ResultT_co = TypeVar("ResultT_co", covariant=True)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Want:
    """One image that is wanted: by ``path`` (and place in a tar) where there is one, else by ``url``.

    A pool of tars that were downloaded before carries both: the file is the image, the URL says where it came from.
    """

    row: int
    url: str | None = None
    path: str | None = None
    tar_offset: int | None = None
    tar_bytes: int | None = None


@dataclass(frozen=True)
class BlockJob:
    """The wants of one block, or of one further part of it; (``block``, ``part``) names what the sink commits."""

    block: int
    part: int
    wants: Sequence[Want]


@dataclass(slots=True)
class FetchedBytes:
    """What one request, or one read of a file, gave: the whole body where ``status`` is ok, else None and why."""

    status: FetchStatus
    body: bytes | None = None
    detail: str = ""
    http_status: int | None = None
    final_url: str | None = None
    retry_after_s: float | None = None  # what the server asked for
    reserved: int = 0  # bytes held in the lane's budget until the body is stored


@dataclass(slots=True)
class FetchOutcome:
    """What became of one want. ``stored`` is what ``store`` returned, None unless ``status`` is ok.

    ``seconds`` runs from the first request to the last byte, waits between attempts included; ``attempts`` is 0 where
    no request was sent. ``fetched_bytes`` is the length of the fetched body, also where it could not be stored.
    """

    want: Want
    status: FetchStatus
    detail: str = ""
    attempts: int = 0
    seconds: float = 0.0
    http_status: int | None = None
    final_url: str | None = None
    fetched_bytes: int | None = None
    stored: Any = None


class BlockSink(Protocol[ResultT_co]):
    """Where the outcomes of one block go. Called from the thread that iterates over ``fetch_blocks``, and no other."""

    def add(self, row: int, outcome: FetchOutcome) -> None:
        """Take the outcome of one want."""

    def close(self) -> ResultT_co:
        """Commit the block: every want has had its outcome."""

    def abort(self) -> None:
        """Drop the block uncommitted; called at most once, and instead of close (also when add or close raised)."""


@dataclass(frozen=True)
class ClosedBlock(Generic[ResultT]):
    """A block whose sink was closed: what its ``close`` returned, and how many wants had which status."""

    block: int
    part: int
    result: ResultT
    counts: dict[FetchStatus, int] = field(default_factory=dict)


class StoreRefused(ValueError):
    """Raised by ``store`` for bytes that it does not take, with the status that says why."""

    def __init__(self, status: str, detail: str = "") -> None:
        self.status = parse_status(status)
        self.detail = detail
        super().__init__(f"{self.status}: {detail}")


class FetchAborted(RuntimeError):
    """The lane cannot go on (a full disk, no memory, no more file handles): nothing is wrong with the images."""
