"""Reading images that are already on disk: files under the pool's folder, and members of tars there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from pairmill.transforms.fetch.outcome import FetchAborted, FetchedBytes, Want
from pairmill.transforms.fetch.status import FetchStatus

#: Faults of this machine, not of the file or the server that met them.
MACHINE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def read_local(want: Want, root: Path, max_bytes: int) -> FetchedBytes:
    """The bytes of ``want.path`` under ``root`` (whole, or ``tar_bytes`` from ``tar_offset``), or a status.

    ``root`` must be resolved. A path that leads out of it, by ``..``, from the root of the file system or through a
    symbolic link, is refused unread. Raises FetchAborted where the machine has no file handle left.
    """
    path = want.path or ""
    try:
        inside = (root / path).resolve()
        if os.path.isabs(path) or not inside.is_relative_to(root):
            return FetchedBytes(FetchStatus.REFUSED_PATH, detail="leads out of the pool's folder")
        return _read_range(inside, want.tar_offset, want.tar_bytes, max_bytes)
    except FileNotFoundError:
        return FetchedBytes(FetchStatus.MISSING_FILE, detail="no such file")
    except OSError as error:
        if error.errno in MACHINE_ERRNOS:
            raise FetchAborted(f"cannot open files any more: {error.strerror}") from error
        if error.errno in {errno.ENOTDIR, errno.ENAMETOOLONG}:
            return FetchedBytes(FetchStatus.MISSING_FILE, detail=error.strerror or "")
        return FetchedBytes(FetchStatus.UNREADABLE_FILE, detail=error.strerror or str(error)[:200])
    except (ValueError, RuntimeError) as error:  # a null byte in the name; a loop of links before Python 3.13
        return FetchedBytes(FetchStatus.MISSING_FILE, detail=str(error)[:200])


def _read_range(path: Path, offset: int | None, length: int | None, max_bytes: int) -> FetchedBytes:
    # A named pipe would block the open itself.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return FetchedBytes(FetchStatus.UNREADABLE_FILE, detail="not a regular file")
        start = offset or 0
        wanted = length if length is not None else status.st_size - start
        if start < 0 or wanted < 0 or start + wanted > status.st_size:
            return FetchedBytes(FetchStatus.MISSING_FILE, detail=f"the file ends at byte {status.st_size}")
        if wanted > max_bytes:
            return FetchedBytes(FetchStatus.TOO_LARGE, detail=f"{wanted} bytes, more than {max_bytes}")
        if wanted == 0:
            return FetchedBytes(FetchStatus.EMPTY_BODY)
        body = _read_fully(descriptor, start, wanted)
    if len(body) != wanted:
        return FetchedBytes(FetchStatus.UNREADABLE_FILE, detail=f"read {len(body)} of {wanted} bytes")
    return FetchedBytes(FetchStatus.OK, body=body)


def _read_fully(descriptor: int, offset: int, length: int) -> bytes:
    body = os.pread(descriptor, length, offset)
    while 0 < len(body) < length:
        more = os.pread(descriptor, length - len(body), offset + len(body))
        if not more:
            break
        body += more
    return body
