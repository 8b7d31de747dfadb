"""What a step of a build expects to find in its folder is here before it begins, also where that is in a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.mirror import is_mirrored, open_place, pull
from pairmill.sharding.mirror_space import LAZY_SUFFIXES, is_full, told_full
from pairmill.sharding.object_store import is_url
from pairmill.transforms.job import Job


@contextmanager
def at_hand(job: Job, stage: str) -> Iterator[None]:
    """Run one call of a stage. ``stage`` names it: what a stage reads was put before any call of it began.

    The large files, which few calls need, come when they are asked for; all others lie in this machine's mirror when
    the block begins. A full disk of this machine is told with its name.
    """
    if is_url(job.build):
        pull(job.parts, stage, LAZY_SUFFIXES)
        for folder in (job.parts, job.dataset):  # which the driver has made in its own mirror
            folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except Exception as error:
        if is_full(error) and (is_mirrored(open_place(job.build)) or is_url(job.pool_store.work)):
            raise PairmillError(told_full()) from error
        raise
