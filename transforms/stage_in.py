"""Staging in: a dataset copied from any store to local NVMe, every byte checked against the manifest on its way.

The manifest comes last, so that a folder that has one is a whole dataset for every reader; a file has its own name only
when all of it is there with the sum that the manifest tells.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pairmill.sharding.errors import UsageError
from pairmill.sharding.fault import printable
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, ManifestError, read_manifest
from pairmill.sharding.publish import TEMPORARY_MARK, FileSum, publish_bytes, sum_file, sync_folder
from pairmill.transforms.dataset_copy import (
    CHUNK_BYTES,
    Copied,
    CopyCount,
    CopySettings,
    NotCopiedError,
    copy_files,
    open_store,
)

#: Beside the files, for what a file system needs itself.
SPARE_BYTES = 64 << 20


def stage_in(
    source: str,
    folder: Path,
    settings: CopySettings | None = None,
    progress: Callable[[int, int], None] = lambda done, all_bytes: None,
) -> Copied:
    """Copy the dataset at ``source`` (a path or an fsspec URL) into ``folder``; the same call goes on after a crash.

    ``progress`` is told the bytes that are in place and all bytes, from several threads in turn. Raises UsageError
    where there is no such dataset, where ``folder`` holds something else, and where the disk is too small, before
    anything is copied; PairmillError when a file does not come or is not what the manifest tells.
    """
    settings = settings or CopySettings()
    store, root = open_store(source)
    raw, manifest = _source_manifest(store, root, source)
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        return _copy_all(_Source(store, root, raw, manifest), folder, settings, progress, started)


@dataclass(frozen=True)
class _Source:
    store: Any
    root: str
    raw: bytes
    manifest: Manifest


def _copy_all(
    source: _Source, folder: Path, settings: CopySettings, progress: Callable[[int, int], None], started: float
) -> Copied:
    raw, manifest = source.raw, source.manifest
    _check_folder(folder, raw)
    there, wanted = _sort(folder, manifest, settings.recheck)
    _check_space(folder, wanted)
    whole = sum(file.bytes for file in manifest.files)
    count = CopyCount(sum(file.bytes for file in there), whole, progress)
    for parent in sorted({(folder / file.name).parent for file in wanted}):
        parent.mkdir(parents=True, exist_ok=True)
    copy_files(wanted, _Copy(source.store, source.root, folder, count), settings, source.root)
    for parent in sorted({(folder / file.name).parent for file in manifest.files}):
        sync_folder(parent)
    publish_bytes(folder / MANIFEST_NAME, raw)
    sync_folder(folder)
    return Copied(
        copied_files=len(wanted),
        copied_bytes=sum(file.bytes for file in wanted),
        present_files=len(there),
        present_bytes=sum(file.bytes for file in there),
        seconds=time.monotonic() - started,
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One copy at a time: another's unfinished files would be taken for those of a dead one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another stage-in is at work there") from None
        yield
    finally:
        os.close(descriptor)


class _Copy:
    """Copies one file: temporary name, sum on the way, its own name at the end."""

    def __init__(self, store: Any, root: str, folder: Path, count: CopyCount) -> None:
        self._store, self._root, self._folder, self._count = store, root, folder, count

    def _name(self, file: FileSum) -> str:
        return f"{self._root}/{file.name}"

    def __call__(self, file: FileSum, stop: threading.Event) -> None:
        """Raises NotCopiedError when the store does not give the file, OSError for this machine's disk."""
        told = 0
        try:
            with _unpublished(self._folder / file.name) as (temporary, descriptor):
                digest = hashlib.sha256()
                for chunk in self._chunks(file, stop):
                    digest.update(chunk)
                    _write(descriptor, chunk)
                    self._count.add(len(chunk))
                    told += len(chunk)
                    if told > file.bytes:
                        break
                if told != file.bytes:
                    size = "is longer" if told > file.bytes else f"has {told} bytes"
                    raise NotCopiedError(f"{size}, {MANIFEST_NAME} says {file.bytes}")
                if digest.hexdigest() != file.sha256:
                    raise NotCopiedError(f"its sha256 is not the one in {MANIFEST_NAME}")
                os.fsync(descriptor)
                os.replace(temporary, self._folder / file.name)
        except BaseException:
            self._count.add(-told)
            raise

    def _chunks(self, file: FileSum, stop: threading.Event) -> Iterator[bytes]:
        try:
            with self._store.open(self._name(file), "rb") as remote:
                while chunk := remote.read(CHUNK_BYTES):
                    if stop.is_set():
                        raise NotCopiedError("stopped")
                    yield chunk
        except (NotCopiedError, GeneratorExit):
            raise
        except Exception as error:  # every store has errors of its own
            raise NotCopiedError(str(error) or type(error).__name__) from error


@contextmanager
def _unpublished(path: Path) -> Iterator[tuple[Path, int]]:
    temporary = path.with_name(f"{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        yield temporary, descriptor
    finally:
        os.close(descriptor)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _source_manifest(store: Any, root: str, source: str) -> tuple[bytes, Manifest]:
    """The manifest at the source as bytes, and read; a build's folder stands for the dataset in it."""
    try:
        raw = store.cat_file(f"{root}/{MANIFEST_NAME}")
    except FileNotFoundError:
        raise UsageError(
            f"{source} has no {MANIFEST_NAME}: name the folder of a finished dataset (BUILD/dataset)"
        ) from None
    except Exception as error:  # every store has errors of its own
        raise UsageError(f"{source}/{MANIFEST_NAME} cannot be read: {printable(str(error))}") from error
    with TemporaryDirectory(prefix="pairmill-") as temporary:
        path = Path(temporary) / MANIFEST_NAME
        path.write_bytes(raw)
        try:
            return bytes(raw), read_manifest(path.parent)
        except ManifestError as error:
            raise UsageError(f"{source}/{MANIFEST_NAME} {error.what}") from error


def _check_folder(folder: Path, raw: bytes) -> None:
    manifest = folder / MANIFEST_NAME
    if manifest.is_file() and manifest.read_bytes() != raw:
        raise UsageError(f"{folder} holds another dataset; choose another folder, or remove it")


def _sort(folder: Path, manifest: Manifest, recheck: bool) -> tuple[list[FileSum], list[FileSum]]:
    """The files that are in place, and those to copy: only whole files get a name."""
    known = {file.name for file in manifest.files} | {MANIFEST_NAME}
    there: list[FileSum] = []
    wanted: list[FileSum] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and TEMPORARY_MARK in path.name and name.split(TEMPORARY_MARK)[0] in known:
            path.unlink()  # of a copy that was killed
        elif path.is_file() and name not in known:
            raise UsageError(f"{folder} holds {name!r}, which is not of this dataset; choose an empty folder")
    for file in manifest.files:
        path = folder / file.name
        same = path.is_file() and path.stat().st_size == file.bytes
        if same and recheck:
            same = sum_file(path).sha256 == file.sha256
        (there if same else wanted).append(file)
    return there, wanted


def _check_space(folder: Path, wanted: list[FileSum]) -> None:
    need, free = sum(file.bytes for file in wanted), shutil.disk_usage(folder).free
    if wanted and need + SPARE_BYTES > free:
        raise UsageError(f"{folder}: {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
