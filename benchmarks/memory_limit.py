"""Running commands under a limit of memory that counts the page cache: a cgroup of this benchmark's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[list[str]]:
    """What to put before a command, to run it under the limit; the group goes at the end.

    Raises SystemExit where this user may make no such group.
    """
    old = (ROOT / "memory").is_dir()  # version 1 has a tree for each resource
    group = (ROOT / "memory" if old else ROOT) / f"pairmill-benchmark-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit_bytes))
    except OSError as error:
        raise SystemExit(f"{group}: {error.strerror}; a limit of memory needs a user who may make cgroups") from error
    try:
        yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        group.rmdir()


def forget(paths: Iterator[Path]) -> None:
    """Drop what the page cache holds of these files, which must be synced."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
