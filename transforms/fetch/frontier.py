"""Which URL is asked for next: in order, but no host more than its share, and retries when they are due.

Plain data, no clock and no event loop of its own: times come in as numbers.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pairmill.transforms.fetch.host_limits import HostLimits
from pairmill.transforms.fetch.outcome import FetchedBytes, Want


@dataclass(slots=True)
class UrlTask:
    """One URL on its way: the open block it belongs to, and what its attempts have cost and given."""

    owner: Any
    want: Want
    host: str
    attempts: int = 0
    started: float = 0.0
    deadline: float = 0.0
    last: FetchedBytes | None = None


class Frontier:
    """The URLs that wait. A task is ready, parked (its host has its share of requests), or delayed until a time.

    A parked URL holds no place among the requests in flight: a slow host with many URLs keeps nobody else waiting.
    """

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._ready: deque[UrlTask] = deque()
        self._parked: dict[str, deque[UrlTask]] = {}
        self._delayed: list[tuple[float, int, UrlTask]] = []
        self._ticket = 0
        self._in_flight: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    def add(self, tasks: Iterable[UrlTask]) -> None:
        """Queue new tasks behind those that wait."""
        waiting = self._waiting
        for task in tasks:
            waiting[task.host] += 1
            self._ready.append(task)

    def delay(self, task: UrlTask, until: float) -> None:
        """Hold a task back until a time."""
        self._ticket += 1
        self._waiting[task.host] += 1
        heapq.heappush(self._delayed, (until, self._ticket, task))

    def promote(self, now: float) -> None:
        """Make the delayed tasks that are due ready, before all others: their deadlines run."""
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.appendleft(heapq.heappop(self._delayed)[2])

    def take(self, now: float) -> UrlTask | None:
        """The next task to request, its host's count raised; None if no waiting task may be asked now."""
        self.promote(now)
        while self._ready:
            task = self._ready.popleft()
            host = task.host
            if self._in_flight[host] >= self._limits.of(host):
                self._parked.setdefault(host, deque()).append(task)
                continue
            self._in_flight[host] += 1
            _lower(self._waiting, host)
            return task
        return None

    def finish(self, host: str) -> None:
        """A request to the host has ended: the first task parked for it is ready again."""
        _lower(self._in_flight, host)
        parked = self._parked.get(host)
        if parked:
            self._ready.appendleft(parked.popleft())
            if not parked:
                del self._parked[host]

    def more_from(self, host: str) -> bool:
        """Whether further tasks of the host wait, so that its connection is worth keeping."""
        return self._waiting[host] > 0

    @property
    def next_due(self) -> float | None:
        """When the first delayed task is due; None if there is none."""
        return self._delayed[0][0] if self._delayed else None

    @property
    def ready(self) -> int:
        """How many tasks wait for a place alone (or for their turn to be parked)."""
        return len(self._ready)


def _lower(counts: Counter[str], host: str) -> None:
    """Count down, and forget a host at zero: a pool may hold millions of hosts."""
    if counts[host] <= 1:
        del counts[host]
    else:
        counts[host] -= 1
