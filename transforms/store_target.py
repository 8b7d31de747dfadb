"""Where a dataset is published: objects or files under a URL, each put whole and compared with the store's own sum."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsspec.callbacks import Callback

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.fault import printable
from pairmill.sharding.manifest import MANIFEST_NAME
from pairmill.sharding.publish import TEMPORARY_MARK, FileSum
from pairmill.transforms.dataset_copy import CHUNK_BYTES, CopyCount, NotCopiedError

#: In the store while a dataset is copied there: the sha256 of the manifest that comes last.
UNFINISHED = ".publishing"
#: Stores in which an object is there when all of it is; elsewhere a file is written under another name and moved.
_WHOLE_OR_NOT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "tos", "memory", "hf"})
#: A part of an S3 object; one of less than two is put at once. Two parts of each stream are in memory.
PART_BYTES = 16 << 20
_S3_AT_ONCE = 2
_ETAG = re.compile(r'"?([0-9a-f]{32})(-\d+)?"?')

#: What a copied file was compared by: a sum that the store tells, all its bytes read again, or its size alone.
Compared = Literal["sum", "bytes", "size"]


@dataclass(frozen=True)
class LocalSums:
    """The sums of a local file, from one reading; ``parts``: the md5 of the md5s of its parts, as S3 tells it."""

    sha256: str
    md5: str
    parts: str

    @classmethod
    def of(cls, path: Path) -> LocalSums:
        """Raises OSError where the file cannot be read."""
        sha256, md5, parts = hashlib.sha256(), hashlib.md5(usedforsecurity=False), []
        with open(path, "rb", buffering=0) as file:
            while True:
                part, left = hashlib.md5(usedforsecurity=False), PART_BYTES
                while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                    for digest in (sha256, md5, part):
                        digest.update(chunk)
                    left -= len(chunk)
                if left == PART_BYTES:
                    break
                parts.append(part.digest())
        of_parts = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
        return cls(sha256.hexdigest(), md5.hexdigest(), f"{of_parts}-{len(parts)}")


class StoreTarget:
    """A folder in any fsspec store; used by several threads. Faults of the store are NotCopiedError."""

    def __init__(self, store: Any, root: str, url: str) -> None:
        self._store, self._root, self._url = store, root, url
        protocols = {store.protocol} if isinstance(store.protocol, str) else set(store.protocol)
        self._whole = bool(protocols & _WHOLE_OR_NOT)
        self._parts = {"chunksize": PART_BYTES, "max_concurrency": _S3_AT_ONCE} if "s3" in protocols else {}
        self._etags_told_otherwise = False

    def find(self) -> dict[str, dict[str, Any]]:
        """What lies there: name relative to the folder, to what the store tells of it. Raises UsageError."""
        try:
            self._store.invalidate_cache()
            found = self._store.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:  # every store has errors of its own
            raise UsageError(f"{self._url} cannot be listed: {_told(error)}") from error
        return {path[len(self._root) + 1 :]: told for path, told in found.items() if told.get("type") == "file"}

    def begin(self, digest: str, known: Mapping[str, FileSum], found: Mapping[str, Any]) -> None:
        """Claim the folder for the manifest of this sha256. Raises UsageError where it holds anything else."""
        for name in found:
            if name not in known and name not in (MANIFEST_NAME, UNFINISHED):
                if TEMPORARY_MARK in name and name.split(TEMPORARY_MARK)[0] in known:
                    self._remove(name)  # of a copy that was killed
                    continue
                raise UsageError(f"{self._url} holds {name!r}, which is not of this dataset; choose an empty folder")
        if UNFINISHED in found and self.read(UNFINISHED) != digest.encode():
            raise UsageError(
                f"{self._url} holds an unfinished copy of another dataset; remove it, or choose another folder"
            )
        try:
            self._write(UNFINISHED, digest.encode())
        except Exception as error:  # every store has errors of its own
            raise UsageError(f"{self._url} cannot be written: {_told(error)}") from error

    def read(self, name: str) -> bytes:
        """The bytes of a small file; raises PairmillError."""
        try:
            return bytes(self._store.cat_file(f"{self._root}/{name}"))
        except Exception as error:  # every store has errors of its own
            raise PairmillError(f"{self._url}/{name} cannot be read: {_told(error)}") from error

    def holds(self, path: Path, file: FileSum, told: Mapping[str, Any]) -> bool:
        """Whether what lies there is the file: by its sum where the store tells one, else by all its bytes.

        Raises PairmillError where the bytes cannot be read.
        """
        if int(told["size"]) != file.bytes:
            return False
        same = _same(LocalSums.of(path), told)
        try:
            return True if same else self._reads_back(file)
        except NotCopiedError as error:
            raise PairmillError(f"{self._url}/{file.name} cannot be read: {error}") from error

    def put(self, path: Path, file: FileSum, count: CopyCount, stop: threading.Event) -> Compared:
        """Copy a local file, and compare what came of it. Raises PairmillError for one that the manifest tells not."""
        sums = LocalSums.of(path)
        if sums.sha256 != file.sha256:
            raise PairmillError(f"{path} is not the file that {MANIFEST_NAME} tells; shard-stats --verify lists all")
        told = _Progress(count, stop)
        try:
            self._put(path, file, told)
            told.exactly(file.bytes)
            info = self._info(file)
            if int(info["size"]) != file.bytes:
                raise NotCopiedError(f"has {info['size']} bytes there, {MANIFEST_NAME} says {file.bytes}")
            return self._compared(sums, file, info)
        except BaseException:
            told.exactly(0)
            raise

    def finish(self, raw: bytes) -> None:
        """Put the manifest, the last of all. Raises PairmillError."""
        try:
            self._write(MANIFEST_NAME, raw)
        except Exception as error:  # every store has errors of its own
            raise PairmillError(f"{self._url}/{MANIFEST_NAME} cannot be written: {_told(error)}") from error
        self._remove(UNFINISHED)

    def unfinish(self) -> None:
        """Take the manifest away: what it names is to be mended."""
        self._remove(MANIFEST_NAME)

    def _put(self, path: Path, file: FileSum, told: _Progress) -> None:
        final = f"{self._root}/{file.name}"
        name = final if self._whole else f"{final}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}"
        try:
            if not self._whole:
                self._store.makedirs(final.rsplit("/", 1)[0], exist_ok=True)
            self._store.put_file(str(path), name, callback=told, **self._parts)
            if name != final:
                self._store.mv(name, final)
        except NotCopiedError:
            raise
        except Exception as error:  # every store has errors of its own
            if name != final:
                with suppress(Exception):
                    self._store.rm_file(name)
            raise NotCopiedError(_told(error)) from error

    def _info(self, file: FileSum) -> dict[str, Any]:
        try:
            self._store.invalidate_cache(f"{self._root}/{file.name}")
            return dict(self._store.info(f"{self._root}/{file.name}"))
        except Exception as error:  # every store has errors of its own
            raise NotCopiedError(_told(error)) from error

    def _compared(self, sums: LocalSums, file: FileSum, info: Mapping[str, Any]) -> Compared:
        same = None if self._etags_told_otherwise and "ETag" in info else _same(sums, info)
        if same is None:
            return "size"
        if same:
            return "sum"
        if not self._reads_back(file):
            raise NotCopiedError("what lies there is not what was sent")
        self._etags_told_otherwise = True  # a store that encrypts with keys of its own: its tags are no md5
        return "bytes"

    def _reads_back(self, file: FileSum) -> bool:
        digest = hashlib.sha256()
        try:
            with self._store.open(f"{self._root}/{file.name}", "rb") as remote:
                while chunk := remote.read(CHUNK_BYTES):
                    digest.update(chunk)
        except Exception as error:  # every store has errors of its own
            raise NotCopiedError(_told(error)) from error
        return digest.hexdigest() == file.sha256

    def _write(self, name: str, data: bytes) -> None:
        if not self._whole:
            self._store.makedirs(self._root, exist_ok=True)
            attempt = f"{self._root}/{name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}"
            self._store.pipe_file(attempt, data)
            self._store.mv(attempt, f"{self._root}/{name}")
        else:
            self._store.pipe_file(f"{self._root}/{name}", data)

    def _remove(self, name: str) -> None:
        try:
            self._store.rm_file(f"{self._root}/{name}")
        except FileNotFoundError:
            pass
        except Exception as error:  # every store has errors of its own
            raise PairmillError(f"{self._url}/{name} cannot be removed: {_told(error)}") from error


class _Progress(Callback):
    """What a store's own upload tells, as a count of bytes; ends the upload when the others have failed."""

    def __init__(self, count: CopyCount, stop: threading.Event) -> None:
        super().__init__()
        self._count, self._stop, self._sent = count, stop, 0

    def relative_update(self, inc: int = 1) -> None:
        self.exactly(self._sent + inc)

    def absolute_update(self, value: int) -> None:
        self.exactly(value)

    def exactly(self, sent: int) -> None:
        """So many bytes have been sent."""
        self._count.add(sent - self._sent)
        self._sent = sent
        if sent and self._stop.is_set():
            raise NotCopiedError("stopped")

    def branched(self, *given: object, **named: object) -> Callback:
        return Callback()


def _same(sums: LocalSums, told: Mapping[str, Any]) -> bool | None:
    """Whether the sum that a store tells is that of the file; None where it tells none."""
    if isinstance(told.get("md5Hash"), str):  # Google's
        return base64.b64decode(told["md5Hash"]).hex() == sums.md5
    settings = told.get("content_settings")
    if isinstance(settings, Mapping) and isinstance(settings.get("content_md5"), (bytes, bytearray)):  # Azure's
        return bytes(settings["content_md5"]).hex() == sums.md5
    match = _ETAG.fullmatch(str(told.get("ETag", "")))  # S3's
    if match is None:
        return None
    return sums.parts == f"{match[1]}{match[2]}" if match[2] else sums.md5 == match[1]


def _told(error: Exception) -> str:
    return printable(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
