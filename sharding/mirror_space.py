"""The room that mirrors take on a machine's disk: bounded, and given back by what was not asked for longest."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pairmill.sharding.errors import PairmillError, UsageError

T = TypeVar("T")

#: The folder of a machine's mirrors: a local disk, best its fastest.
CACHE_VARIABLE = "PAIRMILL_CACHE"
#: What all mirrors of a machine may take, in GB (1e9 bytes); three quarters of what is free where it is not set.
LIMIT_VARIABLE = "PAIRMILL_CACHE_GB"
_SHARE = 0.75
#: Room is looked for when a process has added so much of the limit.
_LOOK_AT = 1 / 16
#: What was asked for a moment ago is about to be opened.
KEEP_S = 60.0
#: Files that are fetched again when they are asked for. All others a step expects to find.
LAZY_SUFFIXES = (".arrow", ".bin", ".f16", ".npy", ".tar")
_LAZY_FOLDERS = ("columns", "spool", "dataset")
_FULL = (errno.ENOSPC, errno.EDQUOT)


def cache_folder() -> Path:
    """Where this machine's mirrors lie: ``$PAIRMILL_CACHE``, or ``~/.cache/pairmill``."""
    told = os.environ.get(CACHE_VARIABLE)
    return Path(told) if told else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pairmill"


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def told_full() -> str:
    """One line on a full cache folder."""
    return (
        f"the cache folder {cache_folder()} on {socket.gethostname()} is full; give {CACHE_VARIABLE} a larger disk, or "
        f"fewer open blocks (fetch.open_blocks), then run the same command again: finished blocks are kept"
    )


class CacheSpace:
    """The room below a cache folder. Only files that cannot be written to are removed: those are in the store."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError for a limit that is no number above 0."""
        self._folder = folder
        self._added = 0
        self.limit_bytes = self._limit()

    def grown(self, added: int) -> None:
        """Note bytes that came in, and make room where they are many."""
        self._added += added
        if self._added > self.limit_bytes * _LOOK_AT:
            self._added = 0
            self.trim(self.limit_bytes)

    def for_more(self, call: Callable[[], T]) -> T:
        """Call what brings files in; once more with all the room there can be where the disk is full."""
        try:
            return call()
        except OSError as error:
            if not is_full(error):
                raise
        self.trim(0)
        try:
            return call()
        except OSError as error:
            if is_full(error):
                raise PairmillError(told_full()) from error
            raise

    def trim(self, limit_bytes: int) -> None:
        """Remove what was not asked for longest until the rest is below nine tenths of a limit."""
        found = sorted(self._removable())
        total = sum(size for _, size, _ in found)
        if total <= limit_bytes:
            return
        newest = time.time() - (KEEP_S if limit_bytes else 1.0)
        for asked, size, path in found:
            if total <= 0.9 * limit_bytes or asked > newest:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _removable(self) -> Iterator[tuple[float, int, Path]]:
        for root in self._folder.glob("*/files"):
            for folder, _, names in os.walk(root):
                first = Path(folder).relative_to(root).parts[:1]
                for name in names:
                    if not (name.endswith(LAZY_SUFFIXES) or (first and first[0] in _LAZY_FOLDERS)):
                        continue
                    path = Path(folder, name)
                    with suppress(FileNotFoundError):
                        told = path.stat()
                        if not told.st_mode & stat.S_IWUSR:
                            yield told.st_mtime, told.st_size, path

    def _limit(self) -> int:
        told = os.environ.get(LIMIT_VARIABLE)
        if told is None:
            used = sum(size for _, size, _ in self._removable())
            return int(_SHARE * (shutil.disk_usage(self._folder).free + used))
        try:
            limit = float(told)
        except ValueError:
            limit = 0.0
        if not limit > 0:
            raise UsageError(f"{LIMIT_VARIABLE}={told}: give the GB that mirrors may take, such as 200")
        return int(limit * 1e9)
