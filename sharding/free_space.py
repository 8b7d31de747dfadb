"""The free space of a disk, and the low-water mark at which a run stops before the disk is full."""

from __future__ import annotations

import shutil
from pathlib import Path

from pairmill.sharding.byte_size import told_bytes
from pairmill.sharding.errors import PairmillError

#: Of the disk; but a run need not leave more than the next one.
LEAST_FREE_SHARE = 0.01
MOST_LEAST_FREE_BYTES = 5_000_000_000


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path


def free_bytes(path: Path) -> int:
    """The bytes that may still be written where ``path`` is, or will be."""
    return shutil.disk_usage(existing(path)).free


def least_free_bytes(path: Path) -> int:
    """How much of the disk of ``path`` a run leaves free unless it is told: 1 % of it, and at most 5 GB."""
    return min(MOST_LEAST_FREE_BYTES, int(shutil.disk_usage(existing(path)).total * LEAST_FREE_SHARE))


def lacking(path: Path, least: int | None, more: int = 0) -> str | None:
    """Why a run must stop where fewer than ``least`` bytes would be free once ``more`` are written, or None.

    Without ``least`` it is what ``least_free_bytes`` says of this disk.
    """
    least = least_free_bytes(path) if least is None else least
    if least <= 0:
        return None
    free = free_bytes(path)
    if free - more >= least:
        return None
    wanted = f", {told_bytes(more)} are to be written" if more else ""
    return (
        f"{path}: {told_bytes(free)} are free on this disk{wanted}, and a run leaves {told_bytes(least)} (--min-free); "
        "free some and run the same command again: what is finished is kept"
    )


def require_free(path: Path, least: int | None, more: int = 0) -> None:
    """Raise PairmillError where ``lacking`` says why."""
    if (why := lacking(path, least, more)) is not None:
        raise PairmillError(why)
