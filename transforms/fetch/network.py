"""The network side of a lane: one thread with an event loop, and a fixed number of requests in flight."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from pairmill.transforms.fetch.budget import ByteBudget
from pairmill.transforms.fetch.frontier import Frontier, UrlTask
from pairmill.transforms.fetch.host_limits import HostLimits
from pairmill.transforms.fetch.outcome import FetchAborted, FetchedBytes
from pairmill.transforms.fetch.retry import retry_wait_s
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.fetch.status import FetchStatus

if TYPE_CHECKING:  # it brings aiohttp, which a run that asks for no URL does without
    from pairmill.transforms.fetch.http import Fetcher, OpenFetcher

#: Takes the end of one task: what its last attempt gave, and the seconds since its first.
Deliver = Callable[[UrlTask, FetchedBytes, float], None]
#: Takes what ended the network side itself.
Fail = Callable[[BaseException], None]


class NetworkSide(Protocol):
    """Whatever turns tasks into bytes: calls ``deliver`` once for every task, from a thread of its own."""

    def submit(self, tasks: list[UrlTask]) -> None:
        """Queue tasks."""

    def release(self, bodies: int, reserved: int) -> None:
        """Say that so many delivered bodies, and so many reserved bytes, are held no more."""

    def close(self) -> None:
        """Cancel what is in flight and end the threads; nothing is delivered afterwards."""


class AsyncNetwork:
    """Runs ``settings.concurrency`` requests at a time over a Frontier. Made and called from one thread."""

    def __init__(
        self,
        settings: FetchSettings,
        deliver: Deliver,
        fail: Fail,
        open_fetcher: OpenFetcher,
        limits: HostLimits | None = None,
    ) -> None:
        self._settings = settings
        self._deliver = deliver
        self._fail = fail
        self._open_fetcher = open_fetcher
        self._frontier = Frontier(limits or HostLimits(settings.per_host))
        self._idle: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._rng = random.Random()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._main, name="pairmill-network", daemon=True)
        self._thread.start()
        self._started.wait()

    def submit(self, tasks: list[UrlTask]) -> None:
        """Queue tasks; see NetworkSide."""
        self._call(self._add, tasks)

    def release(self, bodies: int, reserved: int) -> None:
        """Free places for bodies; see NetworkSide."""
        self._call(self._release, bodies, reserved)

    def close(self) -> None:
        """End the thread; see NetworkSide."""
        self._call(self._stop)
        self._thread.join()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        # A loop that has ended by an error raises RuntimeError; _fail has told the error itself.
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)

    # Everything below runs in the network thread.

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._fail(error)
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._budget = ByteBudget(self._settings.buffer_bytes)
        self._room = asyncio.Semaphore(self._settings.prefetch)
        self._started.set()
        async with self._open_fetcher(self._settings, self._budget) as fetch:
            workers = [asyncio.ensure_future(self._work(fetch)) for _ in range(self._settings.concurrency)]
            for worker in workers:
                worker.add_done_callback(self._worker_ended)
            try:
                await self._ended
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, fetch: Fetcher) -> None:
        frontier, loop = self._frontier, asyncio.get_running_loop()
        while True:
            task = frontier.take(loop.time())
            while task is None:
                turn = loop.create_future()
                self._idle.append(turn)
                await turn
                task = frontier.take(loop.time())
            if self._idle:
                self._wake(1)
            try:
                fetched = await self._attempt(fetch, task)
            finally:
                frontier.finish(task.host)
            self._wake(1)
            now = loop.time()
            wait = retry_wait_s(fetched, task.attempts, task.deadline - now, self._settings, self._rng)
            if wait is not None:
                task.last = fetched
                frontier.delay(task, now + wait)
                self._set_alarm()
                continue
            if fetched.body is not None:
                await self._room.acquire()
            self._deliver(task, fetched, now - task.started)

    async def _attempt(self, fetch: Fetcher, task: UrlTask) -> FetchedBytes:
        now = asyncio.get_running_loop().time()
        if task.attempts == 0:
            task.started, task.deadline = now, now + self._settings.total_timeout_s
        elif task.last is not None and now >= task.deadline:
            return task.last
        task.attempts += 1
        try:
            return await fetch(task.want.url or "", task.deadline, self._frontier.more_from(task.host))
        except FetchAborted:
            raise
        except Exception as error:
            # No answer, however strange, ends the lane.
            return FetchedBytes(FetchStatus.BAD_RESPONSE, detail=f"{type(error).__name__}: {error}"[:200])

    def _add(self, tasks: Iterable[UrlTask]) -> None:
        self._frontier.add(tasks)
        self._wake(self._frontier.ready)

    def _release(self, bodies: int, reserved: int) -> None:
        for _ in range(bodies):
            self._room.release()
        if reserved:
            self._budget.release(reserved)

    def _stop(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _wake(self, count: int) -> None:
        idle = self._idle
        count = min(count, self._frontier.ready)
        while count > 0 and idle:
            turn = idle.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1

    def _set_alarm(self) -> None:
        """Have idle workers woken when the first delayed task is due."""
        due = self._frontier.next_due
        if due is None or (self._alarm is not None and self._alarm.when() <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._frontier.promote(asyncio.get_running_loop().time())
        self._wake(self._frontier.ready)
        self._set_alarm()

    def _worker_ended(self, worker: asyncio.Future[None]) -> None:
        if not worker.cancelled() and worker.exception() is not None and not self._ended.done():
            error = worker.exception()
            assert error is not None
            self._ended.set_exception(error)
