"""One deadline around several awaits that may be moved: ``asyncio.timeout_at``, on Python 3.10 too."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

if sys.version_info >= (3, 11):
    import asyncio

    def deadline_at(when: float) -> AbstractAsyncContextManager[Any]:
        """A context that raises asyncio.TimeoutError when the event loop's clock reaches ``when``."""
        return asyncio.timeout_at(when)

    def move_deadline(running: Any, when: float) -> None:
        """Set the running deadline, which the context gave, to another time."""
        running.reschedule(when)

else:
    import async_timeout  # type: ignore[import-not-found, unused-ignore]

    def deadline_at(when: float) -> AbstractAsyncContextManager[Any]:
        """A context that raises asyncio.TimeoutError when the event loop's clock reaches ``when``."""
        return async_timeout.timeout_at(when)  # type: ignore[no-any-return, unused-ignore]

    def move_deadline(running: Any, when: float) -> None:
        """Set the running deadline, which the context gave, to another time."""
        running.update(when)
