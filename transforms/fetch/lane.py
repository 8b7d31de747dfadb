"""The scheduler of one worker: several blocks open at once, requests, decoding and writing side by side.

Three kinds of threads share the work. The **network** thread holds the requests; **decode** threads read local files
and call ``store``; the **caller's** thread, the one that iterates, does all that the caller brought: it takes the next
job, opens, fills and closes sinks, and reports progress. What passes between them is bounded: places for bodies that
wait, bytes of large ones, and files read ahead.
"""

from __future__ import annotations

import functools
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from pairmill.transforms.fetch.frontier import UrlTask
from pairmill.transforms.fetch.host_limits import HostLimits
from pairmill.transforms.fetch.local import read_local
from pairmill.transforms.fetch.network import AsyncNetwork, Deliver, Fail, NetworkSide
from pairmill.transforms.fetch.outcome import (
    BlockJob,
    BlockSink,
    ClosedBlock,
    FetchAborted,
    FetchedBytes,
    FetchOutcome,
    ResultT,
    StoreRefused,
    Want,
)
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.fetch.sniff import text_kind
from pairmill.transforms.fetch.status import FetchStatus
from pairmill.transforms.fetch.urls import host_key

OpenNetwork = Callable[[Deliver, Fail], NetworkSide]
PROGRESS_S = 1.0
#: Local files that may be read and stored before the sink has taken them.
FILES_AHEAD = 64
_BATCH = 256
_POLL_S = 5.0


def fetch_blocks(
    jobs: Iterable[BlockJob],
    settings: FetchSettings,
    store: Callable[[bytes], Any],
    open_sink: Callable[[BlockJob], BlockSink[ResultT]],
    *,
    root: Path | None = None,
    progress: Callable[[int], None] | None = None,
    open_network: OpenNetwork | None = None,
    limits: HostLimits | None = None,
) -> Iterator[ClosedBlock[ResultT]]:
    """Fetch every want of every job and yield each block when its sink has been closed, in order of completion.

    ``settings.open_blocks`` blocks are open at once; jobs are taken from the iterable one by one as blocks close. Every
    want gets exactly one outcome. ``store`` turns a body into what the sink keeps, in ``settings.decode_threads``
    threads; StoreRefused gives its status, any other exception is ``undecodable``: neither harms a neighbour. Paths
    are read under ``root``. ``limits`` are requests at a time for each host (default: ``settings.per_host``).
    ``progress`` gets the number of wants done since its last call, about once a second.

    What an iterable, a sink or ``progress`` raises ends the lane: requests are cancelled, open sinks aborted, threads
    joined; then it is raised, as FetchAborted with one line where it came from a sink, or where this machine ran out of
    memory or file handles. The same happens, silently, when the caller stops iterating.
    """
    if settings.engine != "pairmill" and open_network is None:
        raise ValueError(f"fetch.engine: {settings.engine} has its own way in, fetch_blocks_by_img2dataset")
    # aiohttp is imported where a URL is asked for: a pool of local files does without.
    network = open_network or functools.partial(_open_async_network, settings, limits)
    lane: _Lane[ResultT] = _Lane(settings, store, open_sink, root, progress=progress, open_network=network)
    try:
        yield from lane.run(iter(jobs))
    finally:
        lane.stop()


def _open_async_network(
    settings: FetchSettings, limits: HostLimits | None, deliver: Deliver, fail: Fail
) -> NetworkSide:
    from pairmill.transforms.fetch.http import open_fetcher

    return AsyncNetwork(settings, deliver, fail, open_fetcher, limits)


@dataclass(eq=False)
class _OpenBlock:
    job: BlockJob
    sink: BlockSink[Any]
    left: int
    counts: Counter[FetchStatus] = field(default_factory=Counter)


@dataclass(slots=True)
class _Done:
    """One outcome on its way to the sink, and what it holds until then."""

    owner: _OpenBlock
    outcome: FetchOutcome
    reserved: int = 0
    body: bool = False
    file: bool = False


class _Lane(Generic[ResultT]):
    """The state of one call of fetch_blocks; every method but the ones marked runs in the caller's thread."""

    def __init__(
        self,
        settings: FetchSettings,
        store: Callable[[bytes], Any],
        open_sink: Callable[[BlockJob], BlockSink[ResultT]],
        root: Path | None,
        *,
        progress: Callable[[int], None] | None,
        open_network: OpenNetwork,
    ) -> None:
        self._settings = settings
        self._store = store
        self._open_sink = open_sink
        self._root = root.resolve() if root is not None else None
        self._progress = progress
        self._open_network = open_network
        self._network: NetworkSide | None = None
        self._decoders = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="pairmill-decode")
        self._done: queue.SimpleQueue[_Done | BaseException] = queue.SimpleQueue()
        self._open: list[_OpenBlock] = []
        self._files: deque[tuple[_OpenBlock, Want]] = deque()
        self._files_ahead = 0
        self._unreported = 0
        self._reported_at = time.monotonic()

    def run(self, jobs: Iterator[BlockJob]) -> Iterator[ClosedBlock[ResultT]]:
        """Yield the blocks as they close."""
        more = True
        while more or self._open:
            yield from self._close_finished()
            if more and len(self._open) < self._settings.open_blocks:
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    self._begin(job)
            elif self._open:
                self._read_ahead()
                self._collect()
        self._report(last=True)

    def stop(self) -> None:
        """Cancel everything, join the threads, abort the sinks that are open."""
        if self._network is not None:
            self._network.close()
        self._decoders.shutdown(wait=True, cancel_futures=True)
        for block in self._open:
            # The error that ended the lane is the one to tell.
            with suppress(Exception):
                block.sink.abort()
        self._open.clear()

    def _begin(self, job: BlockJob) -> None:
        with _sink_errors(job):
            block = _OpenBlock(job, self._open_sink(job), len(job.wants))
        self._open.append(block)
        tasks = []
        for want in job.wants:
            if want.path is not None:
                self._files.append((block, want))
            else:
                tasks.append(UrlTask(block, want, host_key(want.url)))
        if tasks:
            if self._network is None:
                self._network = self._open_network(self._deliver, self._done.put)
            self._network.submit(tasks)

    def _read_ahead(self) -> None:
        while self._files and self._files_ahead < FILES_AHEAD:
            self._files_ahead += 1
            self._decoders.submit(self._read_one, *self._files.popleft())

    def _collect(self) -> None:
        """Wait for outcomes, and give those that are there to their sinks."""
        batch = [self._next_done()]
        with suppress(queue.Empty):
            while len(batch) < _BATCH:
                batch.append(self._done.get_nowait())
        bodies = reserved = 0
        for done in batch:
            if isinstance(done, BaseException):
                raise _aborted(done) from done
            block = done.owner
            with _sink_errors(block.job):
                block.sink.add(done.outcome.want.row, done.outcome)
            block.left -= 1
            block.counts[done.outcome.status] += 1
            bodies += done.body
            reserved += done.reserved
            self._files_ahead -= done.file
        if self._network is not None and (bodies or reserved):
            self._network.release(bodies, reserved)
        self._unreported += len(batch)
        self._report()

    def _next_done(self) -> _Done | BaseException:
        while True:
            try:
                return self._done.get(timeout=_POLL_S)
            except queue.Empty:
                self._report()

    def _close_finished(self) -> Iterator[ClosedBlock[ResultT]]:
        for block in [block for block in self._open if block.left == 0]:
            with _sink_errors(block.job):
                result = block.sink.close()
            self._open.remove(block)
            yield ClosedBlock(block.job.block, block.job.part, result, dict(block.counts))

    def _report(self, last: bool = False) -> None:
        now = time.monotonic()
        if self._progress is not None and self._unreported and (last or now - self._reported_at >= PROGRESS_S):
            self._reported_at = now
            count, self._unreported = self._unreported, 0
            self._progress(count)

    def _deliver(self, task: UrlTask, fetched: FetchedBytes, seconds: float) -> None:
        """Called by the network side, in its thread."""
        outcome = FetchOutcome(
            task.want, fetched.status, fetched.detail, task.attempts, seconds, fetched.http_status, fetched.final_url
        )
        if fetched.body is None:
            self._done.put(_Done(task.owner, outcome))
            return
        done = _Done(task.owner, outcome, fetched.reserved, body=True)
        try:
            self._decoders.submit(self._store_one, done, fetched.body)
        except RuntimeError as error:  # the lane is being stopped
            self._done.put(error)

    def _read_one(self, block: _OpenBlock, want: Want) -> None:
        """Read and store one local file, in a decode thread."""
        began = time.monotonic()
        try:
            if self._root is None:
                raise FetchAborted("the pool has local paths, but no folder to read them from was given")
            fetched = read_local(want, self._root, self._settings.max_bytes)
        except BaseException as error:
            self._done.put(error)
            return
        outcome = FetchOutcome(want, fetched.status, fetched.detail, seconds=time.monotonic() - began)
        done = _Done(block, outcome, file=True)
        if fetched.body is None:
            self._done.put(done)
        else:
            self._store_one(done, fetched.body)

    def _store_one(self, done: _Done, body: bytes) -> None:
        """Store one body, in a decode thread."""
        outcome = done.outcome
        outcome.fetched_bytes = len(body)
        try:
            kind = text_kind(body)
            if kind is not None:
                svg = kind == "SVG"
                outcome.status = FetchStatus.UNSUPPORTED_FORMAT if svg else FetchStatus.NOT_AN_IMAGE
                outcome.detail = kind
            else:
                outcome.stored = self._store(body)
        except StoreRefused as refusal:
            outcome.status, outcome.detail = refusal.status, refusal.detail
        except MemoryError as error:
            self._done.put(error)
            return
        except Exception as error:
            outcome.status = FetchStatus.UNDECODABLE
            outcome.detail = f"{type(error).__name__}: {error}"[:200]
        except BaseException as error:
            self._done.put(error)
            return
        self._done.put(done)


@contextmanager
def _sink_errors(job: BlockJob) -> Iterator[None]:
    """Make one line of what a sink raises."""
    try:
        yield
    except (FetchAborted, KeyboardInterrupt, GeneratorExit):
        raise
    except OSError as error:
        raise FetchAborted(f"block {job.block:012x} cannot be written: {error.strerror or error}") from error
    except Exception as error:
        raise FetchAborted(f"block {job.block:012x} cannot be written: {type(error).__name__}: {error}") from error


def _aborted(error: BaseException) -> BaseException:
    if isinstance(error, MemoryError):
        return FetchAborted("no memory left; lower concurrency, prefetch, decode_threads or buffer_bytes")
    if isinstance(error, FetchAborted):
        return FetchAborted(*error.args)
    return FetchAborted(f"fetching stopped: {type(error).__name__}: {error}")
