"""Where a dataset is published: a repository of the Hugging Face Hub, in commits of many files each.

A commit is there or not, and the Hub tells the sha256 of every large file in it and the git digest of every small one.
A commit for each file, as fsspec would make them, would soon meet the Hub's limits on commits.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.fault import printable
from pairmill.sharding.manifest import MANIFEST_NAME
from pairmill.sharding.publish import FileSum
from pairmill.transforms.dataset_copy import CopyCount, CopySettings, NotCopiedError, copy_files
from pairmill.transforms.store_target import Compared

#: Of one commit: a fault costs that much at most, and the Hub asks for no more than hundreds of files in one.
FILES_PER_COMMIT = 200
BYTES_PER_COMMIT = 20 << 30
#: What every repository has of its own.
_OF_REPOSITORY = ".gitattributes"
_GIT_DIGITS = 40


def is_hub_repository(store: Any, root: str) -> bool:
    """Whether a folder of an fsspec store is one of a repository, and not of a bucket."""
    protocols = (store.protocol,) if isinstance(store.protocol, str) else tuple(store.protocol)
    return "hf" in protocols and not root.startswith("buckets/")


class HubTarget:
    """A folder in a repository of the Hub."""

    def __init__(self, store: Any, root: str, url: str) -> None:
        """Raises UsageError for a repository that is not there."""
        self._store, self._root, self._url, self._api = store, root, url, store._api
        try:
            resolved = store.resolve_path(root)
        except Exception as error:  # the library's errors are of many kinds
            raise UsageError(
                f"{url}: {_told(error)}; the repository must be there (hf repo create NAME --repo-type dataset), and "
                "hf auth login or HF_TOKEN lets you in"
            ) from error
        self._where = {"repo_id": resolved.repo_id, "repo_type": resolved.repo_type, "revision": resolved.revision}
        self._folder = resolved.path_in_repo.strip("/")
        self._old_manifest = False

    def find(self) -> dict[str, dict[str, Any]]:
        """What lies there: name relative to the folder, to ``size`` and ``sums``. Raises UsageError."""
        from huggingface_hub.errors import EntryNotFoundError

        try:
            tree = self._api.list_repo_tree(path_in_repo=self._folder or None, recursive=True, **self._where)
            entries = [entry for entry in tree if hasattr(entry, "blob_id")]
        except EntryNotFoundError:
            return {}
        except Exception as error:
            raise UsageError(f"{self._url} cannot be listed: {_told(error)}") from error
        cut = len(self._folder) + 1 if self._folder else 0
        return {entry.path[cut:]: {"size": entry.size, "sum": _sum_of(entry)} for entry in entries}

    def begin(self, digest: str, known: Mapping[str, FileSum], found: Mapping[str, Any]) -> None:
        """Raises UsageError where the folder holds anything but files of this dataset."""
        for name in found:
            if name not in known and name not in (MANIFEST_NAME, _OF_REPOSITORY):
                raise UsageError(f"{self._url} holds {name!r}, which is not of this dataset; choose an empty folder")

    def unfinish(self) -> None:
        """Take the manifest away: what it names is to be mended."""
        self._api.delete_file(self._path(MANIFEST_NAME), commit_message="Dataset to be mended", **self._where)

    def read(self, name: str) -> bytes:
        """The bytes of a small file; raises PairmillError."""
        try:
            self._store.invalidate_cache()
            return bytes(self._store.cat_file(f"{self._root}/{name}"))
        except Exception as error:
            raise PairmillError(f"{self._url}/{name} cannot be read: {_told(error)}") from error

    def holds(self, path: Path, file: FileSum, told: Mapping[str, Any]) -> bool:
        """Whether what lies there is the file."""
        if int(told["size"]) != file.bytes:
            return False
        return told["sum"] == file.sha256 or (len(told["sum"]) == _GIT_DIGITS and told["sum"] == _git_digest(path))

    def put_all(
        self, dataset: Path, wanted: Sequence[FileSum], count: CopyCount, settings: CopySettings
    ) -> dict[Compared, int]:
        """Copy local files, commit by commit, and compare each with what the Hub tells. Raises PairmillError."""
        with _no_bars():
            for number, batch in enumerate(_batches(wanted)):
                # A commit is one piece of work, whose large files the library sends several at a time.
                whole = FileSum(batch[0].name, sum(file.bytes for file in batch), "")
                commit = partial(self._commit, dataset, batch, number, settings.streams)
                copy_files([whole], commit, settings, self._url.rstrip("/"))
                count.add(whole.bytes)
        return {"sum": len(wanted)} if wanted else {}

    def finish(self, raw: bytes) -> None:
        """Commit the manifest, the last of all. Raises PairmillError."""
        try:
            self._api.upload_file(
                path_or_fileobj=raw,
                path_in_repo=self._path(MANIFEST_NAME),
                commit_message="Dataset complete: its manifest",
                **self._where,
            )
        except Exception as error:
            raise PairmillError(f"{self._url}/{MANIFEST_NAME} cannot be written: {_told(error)}") from error

    def _commit(
        self, dataset: Path, files: Sequence[FileSum], number: int, threads: int, _: FileSum, stop: threading.Event
    ) -> None:
        from huggingface_hub import CommitOperationAdd

        operations = []
        for file in files:
            operation = CommitOperationAdd(self._path(file.name), str(dataset / file.name))
            if operation.upload_info.sha256.hex() != file.sha256:
                raise PairmillError(
                    f"{dataset / file.name} is not the file that {MANIFEST_NAME} tells; shard-stats --verify lists all"
                )
            operations.append(operation)
        message = f"Dataset files, part {number + 1}: {len(files)} from {files[0].name}"
        try:
            self._api.create_commit(operations=operations, commit_message=message, num_threads=threads, **self._where)
            paths = [self._path(file.name) for file in files]
            found = {entry.path: entry for entry in self._api.get_paths_info(paths=paths, **self._where)}
        except Exception as error:  # the library's errors are of many kinds
            raise NotCopiedError(_told(error)) from error
        for file in files:
            entry = found.get(self._path(file.name))
            told = {} if entry is None else {"size": entry.size, "sum": _sum_of(entry)}
            if not told or not self.holds(dataset / file.name, file, told):
                raise NotCopiedError(f"{file.name}: what lies there is not what was sent")

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the library's own bars, one for each file."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def _batches(files: Sequence[FileSum]) -> Iterator[list[FileSum]]:
    batch: list[FileSum] = []
    for file in sorted(files, key=lambda file: file.name):
        full = len(batch) >= FILES_PER_COMMIT or sum(other.bytes for other in batch) + file.bytes > BYTES_PER_COMMIT
        if batch and full:
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _sum_of(entry: Any) -> str:
    """The sha256 of a large file, the git digest of a small one."""
    return str(entry.lfs.sha256 if entry.lfs is not None else entry.blob_id)


def _git_digest(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _told(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0] if lines else type(error).__name__)
