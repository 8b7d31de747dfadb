"""Scanning many tars, in several processes where they are large."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from pairmill.sharding.scan import scan_shard
from pairmill.sharding.shard_scan import ShardScan

#: Below this a second process costs more than it saves: a header is some microseconds, a start half a second.
LEAST_BYTES = 1 << 30


def scan_all(
    tars: Sequence[Path],
    contents: bool,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[ShardScan]:
    """What each tar holds, in order; ``processes`` None: one, or as many as there are cores for many large tars.

    ``progress`` is told how many are done.
    """
    if processes is None:
        large = sum(path.stat().st_size for path in tars if path.is_file()) >= LEAST_BYTES
        processes = len(os.sched_getaffinity(0)) if large else 1
    processes = min(processes, len(tars))
    scans: list[ShardScan] = []
    if processes <= 1:
        for path in tars:
            scans.append(scan_shard(path, contents))
            progress(len(scans))
        return scans
    # Not forked: the parent has threads of Polars and Arrow.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for scan in pool.map(partial(scan_shard, contents=contents), tars):
            scans.append(scan)
            progress(len(scans))
    return scans
