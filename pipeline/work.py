"""The work folder: spool and columns of one pool and one set of fetch settings, for one writer at a time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.publish import TEMPORARY_MARK, publish_bytes

FORMAT = "pairmill-work"
FORMAT_VERSION = 1
#: A name that no other program has for a file of its own.
LOCK_NAME = "pairmill.lock"


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
    path = folder / "work.json"
    if not path.is_file():
        if holds_more_than(folder, LOCK_NAME):
            raise UsageError(f"{folder} is not empty and no work folder (it has no work.json); choose another --work")
        record = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(identity)}
        publish_bytes(path, json.dumps(record, indent=1).encode())
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = WorkIdentity(record["pool"], record["pool_name"], dict(record["fetch"]))
        version = (record["format"], record["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged; restore it, or choose another --work") from error
    if version != (FORMAT, FORMAT_VERSION):
        raise UsageError(f"{path} is of format {version}, this is {FORMAT} {FORMAT_VERSION}; choose another --work")
    if known.pool != identity.pool:
        raise UsageError(
            f"{folder} is the work folder of another pool ({known.pool_name}, this is {identity.pool_name}, or its"
            " files, columns or block_rows differ); choose another --work"
        )
    fetch = json.loads(json.dumps(identity.fetch))
    for key in sorted(set(known.fetch) | set(fetch)):
        if known.fetch.get(key) != fetch.get(key):
            raise UsageError(
                f"{folder} was fetched with {key} = {known.fetch.get(key)!r}, the recipe says {fetch.get(key)!r}; "
                "choose another --work, or set it back"
            )


def holds_more_than(folder: Path, *names: str) -> bool:
    """Whether a folder has an entry beside those, and beside files that a killed run left unfinished."""
    return folder.is_dir() and any(
        entry.name not in names and TEMPORARY_MARK not in entry.name for entry in folder.iterdir()
    )


@contextmanager
def lock_folder(folder: Path, purpose: str) -> Iterator[None]:
    """Be the only run on a folder while the block lasts; raises PairmillError that names the other one.

    The operating system drops the lock when its holder dies, so a killed run leaves none behind.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UsageError(f"{purpose} {folder}: {error.strerror}; choose a folder that can be written") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise PairmillError(
                f"{purpose} {folder} is in use by {holder}; wait for it, or choose another folder"
            ) from error
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(handle)
