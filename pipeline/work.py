"""The work folder: spool and columns of one pool and one set of fetch settings, for one writer at a time."""

from __future__ import annotations

import _thread
import errno
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.lease import (
    STALE_S,
    FolderPlace,
    HeldError,
    LeasePlace,
    Owner,
    StorePlace,
    holder,
    is_lease,
    take_lease,
)
from pairmill.sharding.mirror import entries, fresh, place_of, shown, store_of
from pairmill.sharding.object_store import ObjectStore
from pairmill.sharding.publish import TEMPORARY_MARK, publish_bytes

FORMAT = "pairmill-work"
FORMAT_VERSION = 1
#: A name that no other program has for a file of its own.
LOCK_NAME = "pairmill.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class WorkIdentity:
    """What a work folder is for. ``pool``: digest of the pool and how it is read; ``fetch``: what an image becomes."""

    pool: str
    pool_name: str
    fetch: dict[str, object]


def check_work(folder: Path, identity: WorkIdentity) -> None:
    """Take a new folder for this pool and fetch, or make sure that an old one is of both.

    Raises UsageError that names what differs; the folder is then left as it is.
    """
    path = fresh(folder / "work.json")
    if not path.is_file():
        if holds_more_than(folder, LOCK_NAME):
            told = f"{shown(folder)} is not empty and no work folder (it has no work.json)"
            raise UsageError(f"{told}; choose another --work")
        record = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(identity)}
        publish_bytes(path, json.dumps(record, indent=1).encode())
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = WorkIdentity(record["pool"], record["pool_name"], dict(record["fetch"]))
        version = (record["format"], record["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{shown(path)} is damaged; restore it, or choose another --work") from error
    if version != (FORMAT, FORMAT_VERSION):
        told = f"{shown(path)} is of format {version}, this is {FORMAT} {FORMAT_VERSION}"
        raise UsageError(f"{told}; choose another --work")
    if known.pool != identity.pool:
        raise UsageError(
            f"{shown(folder)} is the work folder of another pool ({known.pool_name}, this is {identity.pool_name}, or "
            "its files, columns or block_rows differ); choose another --work"
        )
    fetch = json.loads(json.dumps(identity.fetch))
    for key in sorted(set(known.fetch) | set(fetch)):
        if known.fetch.get(key) != fetch.get(key):
            raise UsageError(
                f"{shown(folder)} was fetched with {key} = {known.fetch.get(key)!r}, the recipe says "
                f"{fetch.get(key)!r}; choose another --work, or set it back"
            )


def holds_more_than(folder: Path, *names: str) -> bool:
    """Whether a folder has an entry beside those, and beside locks and files that a killed run left unfinished."""
    return any(
        name not in names and TEMPORARY_MARK not in name and not is_lease(name) and name != LOCK_NAME
        for name in entries(folder)
    )


@contextmanager
def lock_folder(folder: Path, purpose: str) -> Iterator[None]:
    """Be the only run on a folder while the block lasts, on any machine; raises PairmillError that names the other one.

    On this machine a lock of the operating system tells, which is dropped when its holder dies; among machines a lease
    (``sharding.lease``), which becomes stale. A run that loses its lease is stopped.
    """
    behind = store_of(folder)
    with ExitStack() as held:
        if behind is None:
            locked = held.enter_context(_locked(folder, purpose))
            place: LeasePlace = FolderPlace(folder)
        else:
            locked, place = False, StorePlace(ObjectStore(place_of(folder)))

        def taken_over(line: str) -> None:
            print(f"pairmill: {purpose} {shown(folder)}: {line}", file=sys.stderr)

        try:
            lease = take_lease(place, _thread.interrupt_main, taken_over, alone_on_host=locked)
        except HeldError as error:
            raise PairmillError(
                f"{purpose} {shown(folder)} is in use by {error.owner} (heard of {error.age_s:.0f} s ago); wait for it "
                f"or choose another; if it was killed, the same command works in {STALE_S:.0f} s"
            ) from error
        except OSError as error:
            raise UsageError(f"{purpose} {folder}: {error.strerror}; choose a folder that can be written") from error
        try:
            yield
        except KeyboardInterrupt as error:
            if lease.lost:
                raise PairmillError(f"{purpose} {shown(folder)}: {lease.lost}; this run stops") from error
            raise
        finally:
            lease.release()


def at_work(folder: Path) -> Owner | None:
    """The run that holds a folder now, on whatever machine."""
    behind = store_of(folder)
    return holder(FolderPlace(folder) if behind is None else StorePlace(ObjectStore(place_of(folder))))


@contextmanager
def _locked(folder: Path, purpose: str) -> Iterator[bool]:
    """Hold the system's lock on a folder; gives whether there is one: some mounts have none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UsageError(f"{purpose} {folder}: {error.strerror}; choose a folder that can be written") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                yield False
                return
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise PairmillError(
                f"{purpose} {folder} is in use by {holder}; wait for it, or choose another folder"
            ) from error
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield True
    finally:
        os.close(handle)
