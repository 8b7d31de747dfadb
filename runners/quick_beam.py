"""Importing Beam in half the time, and without its words about optional parts that are not installed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Beam imports these where they are installed, for data frames and for MongoDB, and does without where they are not.
NEEDLESS = ("bson", "pandas")


@contextmanager
def quick_beam() -> Iterator[None]:
    """While the block lasts, ``import apache_beam`` finds no NEEDLESS package; afterwards anybody may import them."""
    hidden = [name for name in NEEDLESS if name not in sys.modules]
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        logging.disable(disabled)
