"""Whether and when a request is tried again."""

from __future__ import annotations

import email.utils
import random
import time

from pairmill.transforms.fetch.outcome import FetchedBytes
from pairmill.transforms.fetch.settings import FetchSettings


def retry_wait_s(
    fetched: FetchedBytes, attempts: int, left_s: float, settings: FetchSettings, rng: random.Random
) -> float | None:
    """Seconds to wait before the next attempt, or None if there shall be none.

    ``attempts`` have been made, ``left_s`` seconds are left of the URL's deadline. The wait is ``backoff_s``, doubled
    with every attempt, times a factor in [0.5, 1] so that many URLs of one server do not come back at once, and at
    least what the server asked for.
    """
    if not fetched.status.transient or attempts > settings.retries:
        return None
    wait = settings.backoff_s * 2.0 ** min(attempts - 1, 30) * rng.uniform(0.5, 1.0)
    if fetched.retry_after_s is not None:
        wait = max(wait, fetched.retry_after_s)
    return wait if wait < left_s else None


def parse_retry_after(value: str | None) -> float | None:
    """Seconds from now that a Retry-After header (a number or an HTTP date) asks for; None if it says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, when - time.time())
