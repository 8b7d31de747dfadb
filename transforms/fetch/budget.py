"""A count of bytes that large bodies reserve before they are read, so that memory has a bound."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """Bytes to be reserved and given back, first come first served; belongs to one event loop.

    Whoever reserves holds at most one reservation, so nobody who waits can be waited for.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._total = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self._free

    async def reserve(self, amount: int) -> None:
        """Wait until ``amount`` bytes are free and take them; ValueError if there will never be so many."""
        if amount > self._total:
            raise ValueError(f"{amount} bytes are more than the whole budget of {self._total}")
        if not self._waiting and amount <= self._free:
            self._free -= amount
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(amount)
            else:
                self._waiting.remove((amount, turn))
                self._serve()
            raise

    def release(self, amount: int) -> None:
        """Give bytes back."""
        self._free += amount
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            amount, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if amount > self._free:
                return
            self._waiting.popleft()
            self._free -= amount
            turn.set_result(None)
