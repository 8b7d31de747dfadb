"""How much memory this machine, or the container that this process runs in, has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: Where a container sees its own limit: cgroups of version 2, and of version 1.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes() -> int:
    """Bytes of memory, those of other programs included; the limit of a container where that is less."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in LIMITS:
        with suppress(OSError, ValueError):  # there is no such file, or it says max
            found = min(found, int(path.read_text()))
    return found
