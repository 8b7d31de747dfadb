"""A network side for downloaders that block: a thread for every request in flight."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable

from pairmill.transforms.fetch.connect_guard import guarded, open_guard
from pairmill.transforms.fetch.frontier import UrlTask
from pairmill.transforms.fetch.network import Deliver, Fail
from pairmill.transforms.fetch.outcome import FetchedBytes
from pairmill.transforms.fetch.retry import retry_wait_s
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.fetch.status import FetchStatus

_LOOK_S = 0.25


class ThreadNetwork:
    """Runs ``download(url)`` in ``settings.concurrency`` threads; see NetworkSide.

    A thread cannot be cut short. A task past its deadline is delivered as ``too_slow``, its thread is left to itself
    and another takes its place; such threads are daemons, so they hold up nobody's exit.
    """

    def __init__(
        self, settings: FetchSettings, deliver: Deliver, fail: Fail, download: Callable[[str], FetchedBytes]
    ) -> None:
        self._settings = settings
        self._deliver = deliver
        self._fail = fail
        self._download = download
        self._guard = open_guard(settings)
        self._tasks: queue.SimpleQueue[UrlTask | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(settings.prefetch)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[int, UrlTask] = {}
        self._tickets = 0
        self._threads = [self._start(self._work) for _ in range(settings.concurrency)]
        self._watcher = self._start(self._watch)

    def submit(self, tasks: list[UrlTask]) -> None:
        """Queue tasks; see NetworkSide."""
        for task in tasks:
            self._tasks.put(task)

    def release(self, bodies: int, reserved: int) -> None:
        """Free places for bodies; see NetworkSide."""
        if bodies:
            self._room.release(bodies)

    def close(self) -> None:
        """Deliver nothing more, and end the threads that are idle; see NetworkSide."""
        self._closed.set()
        for _ in self._threads:
            self._tasks.put(None)
        self._room.release(len(self._threads))
        self._watcher.join()

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name="pairmill-download", daemon=True)
        thread.start()
        return thread

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None and not self._closed.is_set():
            task.started = time.monotonic()
            task.deadline = task.started + self._settings.total_timeout_s
            with self._lock:
                self._tickets += 1
                ticket = self._tickets
                self._running[ticket] = task
            try:
                with guarded(self._guard):
                    fetched = self._attempts(task)
            except BaseException as error:
                self._fail(error)
                return
            with self._lock:
                if self._running.pop(ticket, None) is None:
                    return  # given up meanwhile: another thread has this one's place
            self._hand_over(task, fetched)

    def _attempts(self, task: UrlTask) -> FetchedBytes:
        rng = random.Random()
        while True:
            task.attempts += 1
            fetched = self._download(task.want.url or "")
            left = task.deadline - time.monotonic()
            wait = retry_wait_s(fetched, task.attempts, left, self._settings, rng)
            if wait is None or self._closed.wait(wait):
                return fetched

    def _hand_over(self, task: UrlTask, fetched: FetchedBytes) -> None:
        seconds = time.monotonic() - task.started
        if fetched.body is not None:
            self._room.acquire()
        if not self._closed.is_set():
            self._deliver(task, fetched, seconds)

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S):
            now = time.monotonic()
            with self._lock:
                late = [ticket for ticket, task in self._running.items() if now > task.deadline]
                tasks = [self._running.pop(ticket) for ticket in late]
            for task in tasks:
                self._start(self._work)
                self._hand_over(task, FetchedBytes(FetchStatus.TOO_SLOW, detail="given up at its deadline"))
