"""Files that appear under their name whole or not at all, with the sha256 of what was written.

A file is written under a temporary name in its own folder, flushed to the disk and renamed. The temporary name holds
a random attempt, so that two writers of one file (a retry, and the worker that was thought dead) never share one;
both rename the same bytes into place.
"""

from __future__ import annotations

import functools
import hashlib
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pairmill.sharding.mirror import make_way, settle

BUFFER_BYTES = 1 << 20
TEMPORARY_MARK = ".tmp-"


@dataclass(frozen=True)
class FileSum:
    """A file of a dataset: its path relative to the dataset (with /), its size in bytes, its sha256 as hex."""

    name: str
    bytes: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return {"name": self.name, "bytes": self.bytes, "sha256": self.sha256}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FileSum:
        """The inverse of ``to_dict``; raises KeyError for a missing field."""
        return cls(name=str(data["name"]), bytes=int(data["bytes"]), sha256=str(data["sha256"]))


class HashingWriter:
    """Gathers small writes, and takes the sha256 of every byte on its way to ``file``.

    sha256 and not md5: with the processor's own instructions it is the faster of the two. Of large files it is taken in
    a thread beside the one that writes. Call ``flush`` before ``hexdigest`` or before the file is closed.
    """

    def __init__(self, file: BinaryIO, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._file = file
        self._limit = buffer_bytes
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._hashing: Future[None] | None = None
        self.bytes_written = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take ``data``; returns its length in bytes."""
        length = len(data)
        self._buffer += data
        self.bytes_written += length
        if len(self._buffer) >= self._limit:
            self.flush()
        return length

    def flush(self) -> None:
        """Hash what was gathered and hand it to the file below."""
        if not self._buffer:
            return
        data, self._buffer = self._buffer, bytearray()
        self._wait()
        if self.bytes_written > self._limit:  # a thread is not worth its start for a small file
            self._hashing = _hashers().submit(self._digest.update, data)
        else:
            self._digest.update(data)
        self._file.write(data)

    def hexdigest(self) -> str:
        """The sha256 of everything flushed so far."""
        self._wait()
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None


@functools.cache
def _hashers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="sha256")


@contextmanager
def publishing(path: Path) -> Iterator[HashingWriter]:
    """Open a writer whose bytes appear as ``path`` when the block ends without an error; else nothing is left behind.

    Raises OSError (a full disk, a missing folder); the file that was there before, if any, is then untouched.
    """
    temporary = path.with_name(f"{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")
    make_way(path)
    try:
        with open(temporary, "xb") as file:
            writer = HashingWriter(file)
            yield writer
            writer.flush()
            file.flush()
            os.fsync(file.fileno())
        settle(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def publish_bytes(path: Path, data: bytes, folder: Path | None = None) -> FileSum:
    """Write a small file whole; ``folder`` is what its name in the result is relative to (default: its own)."""
    with publishing(path) as writer:
        writer.write(data)
    return FileSum(path.relative_to(folder or path.parent).as_posix(), writer.bytes_written, writer.hexdigest())


def sync_folder(folder: Path) -> None:
    """Make the renames in ``folder`` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sum_file(path: Path, folder: Path | None = None) -> FileSum:
    """The size and sha256 of a file that is there; raises OSError when it cannot be read."""
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(BUFFER_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileSum(path.relative_to(folder or path.parent).as_posix(), size, digest.hexdigest())


def remove_temporaries(folder: Path) -> int:
    """Remove what killed writers left in ``folder`` itself; returns how many. Call it when no writer is at work."""
    left = [path for path in folder.iterdir() if TEMPORARY_MARK in path.name]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
