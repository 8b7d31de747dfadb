"""Objects under one URL (s3://, gs://) through fsspec: put whole, exclusively where asked, and told of in one line.

What a folder offers and objects do not: no appending, no renaming, no links. Publishing with test-and-set is a
conditional put (``If-None-Match: *``, ``ifGenerationMatch=0``). Credentials and endpoints are the libraries' own
matter, and come from the environment.
"""

from __future__ import annotations

import filecmp
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pairmill.sharding.errors import PairmillError, UsageError

T = TypeVar("T")

#: Scheme to the package that speaks it. ``memory`` is fsspec's own, of one process.
_PACKAGES = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs"), "memory": None}
#: What the libraries have given up on is tried again so often, after so many seconds and their double.
TRIES = 2
PAUSE_S = 1.0
#: s3fs tries five times what botocore has given up on after five: minutes, where a store does not answer at all.
_LIBRARY_TRIES = 2
#: A store that is looked at before any work has so long for all answers together.
CHECK_WITHIN_S = 45.0
#: An object that this process put must be in a listing within this time.
LISTED_WITHIN_S = 20.0
#: What S3 removes in one request.
_AT_ONCE = 1000


class StoreError(PairmillError):
    """The store refused, could not be reached, or is not what it was."""


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is named by a URL, not by a path."""
    return "://" in os.fspath(place)


class ObjectStore:
    """The objects under ``url``. Names are relative to it, with slashes. Threads may share it.

    Every method raises StoreError, one line, where the store refuses or cannot be reached.
    """

    def __init__(self, url: str) -> None:
        """Open no connection yet. Raises UsageError for a scheme that is not spoken here, or a package that lacks."""
        self.url = url.rstrip("/")
        self._files, self._root = _filesystem(self.url)

    def put(self, local: Path, name: str) -> None:
        """Make the bytes of a local file the object ``name``, in place of what was there."""
        self._do(f"write {name}", lambda: self._files.put_file(str(local), self._path(name)))

    def put_bytes(self, name: str, data: bytes) -> None:
        """Make ``data`` the object ``name``, in place of what was there."""
        self._do(f"write {name}", lambda: self._files.pipe_file(self._path(name), data))

    def put_new(self, local: Path, name: str, winner: Path) -> bool:
        """Make a local file the object ``name`` unless there is one; returns whether this file is what counts.

        Where another was first, its bytes are then in ``winner``, and False is returned unless they are the same: an
        answer that was lost on its way makes a success look like a defeat.
        """
        try:
            self._do(
                f"write {name}",
                lambda: self._files.put_file(str(local), self._path(name), mode="create"),
                ambiguous=True,
            )
            return True
        except FileExistsError:
            pass
        except StoreError:
            if self.size(name) is None:
                raise
        if not self.get(name, winner):
            raise StoreError(f"{self.url}/{name} was there and is gone: something else deletes in this store")
        return filecmp.cmp(local, winner, shallow=False)

    def put_new_bytes(self, name: str, data: bytes) -> bool:
        """Make ``data`` the object ``name`` unless there is one; False where there is one with other bytes."""
        try:
            self._do(
                f"write {name}", lambda: self._files.pipe_file(self._path(name), data, mode="create"), ambiguous=True
            )
            return True
        except FileExistsError:
            return self.bytes_of(name) == data
        except StoreError:
            found = self.bytes_of(name)
            if found is None:
                raise
            return found == data

    def get(self, name: str, local: Path) -> bool:
        """Write the object to a local file, whole or not at all; False where there is none."""
        attempt = local.with_name(f"{local.name}.tmp-{uuid.uuid4().hex[:12]}")
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._do(f"read {name}", lambda: self._files.get_file(self._path(name), str(attempt)))
            os.replace(attempt, local)
        except FileNotFoundError:
            return False
        finally:
            attempt.unlink(missing_ok=True)
        return True

    def get_all(self, names: Sequence[str], folder: Path) -> None:
        """Write objects that are there to files of their names in ``folder``, several at a time."""
        mark = uuid.uuid4().hex[:12]
        pairs = [(folder / f"{name}.tmp-{mark}", folder / name) for name in names]
        for attempt, _ in pairs:
            attempt.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._do(
                f"read {len(names)} objects, {names[0] if names else ''} first",
                lambda: self._files.get([self._path(name) for name in names], [str(attempt) for attempt, _ in pairs]),
            )
            for attempt, final in pairs:
                os.replace(attempt, final)
        finally:
            for attempt, _ in pairs:
                attempt.unlink(missing_ok=True)

    def bytes_of(self, name: str) -> bytes | None:
        """The bytes of a small object, None where there is none."""
        try:
            data: bytes = self._do(f"read {name}", lambda: self._files.cat_file(self._path(name)))
            return data
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        """The size of an object in bytes, None where there is none."""
        try:
            told = self._do(f"look at {name}", lambda: self._files.info(self._path(name)))
        except FileNotFoundError:
            return None
        return int(told["size"]) if told["type"] == "file" else None

    def modified(self, name: str) -> float:
        """When an object was written, in seconds of the store's own clock; raises FileNotFoundError."""
        moment: float = self._do(f"look at {name}", lambda: self._files.modified(self._path(name))).timestamp()
        return moment

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Every object below a folder: name to size."""
        top = self._path(prefix) if prefix else self._root
        try:
            found = self._do(f"list {prefix}", lambda: self._files.find(top, detail=True))
        except FileNotFoundError:
            return {}
        cut = len(self._root) + 1
        return {path[cut:]: int(told["size"]) for path, told in found.items() if told["type"] == "file"}

    def entries(self, prefix: str = "") -> list[str]:
        """The names of objects and of folders directly below a folder, sorted."""
        top = self._path(prefix) if prefix else self._root
        try:
            found = self._do(f"list {prefix}", lambda: self._files.ls(top, detail=False))
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").rsplit("/", 1)[-1] for path in found if path.rstrip("/") != top})

    def remove(self, names: Collection[str]) -> None:
        """Remove objects; those that are not there are passed over."""
        paths = [self._path(name) for name in names]
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            try:
                self._do("remove objects", partial(self._files.rm, some))
            except FileNotFoundError:  # not every library goes on with the others
                for path in some:
                    with suppress(FileNotFoundError):
                        self._do("remove an object", partial(self._files.rm_file, path))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _do(self, what: str, call: Callable[[], T], ambiguous: bool = False) -> T:
        """Call the library; faults that may pass are tried again, ``ambiguous`` ones by the caller, who looks first."""
        for attempt in range(TRIES):
            try:
                return call()
            except FileExistsError:
                raise
            except FileNotFoundError as error:
                if _names_no_bucket(error) or (what.startswith("write") and error.errno is None):
                    raise self._told(what, error) from error
                raise
            except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
                raise self._told(what, error) from error
            except Exception as error:
                if isinstance(error, OSError) and error.errno in _LOCAL:
                    raise
                if ambiguous or attempt + 1 == TRIES or not _may_pass(error):
                    raise self._told(what, error) from error
                time.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("the last try returns or raises")

    def _told(self, what: str, error: BaseException) -> StoreError:
        why = explain(error, self.url)
        return StoreError(f"{self.url}: cannot {what.strip()} from {socket.gethostname()}: {why}")


#: ENOSPC, EDQUOT, EROFS, EMFILE, ENFILE: of this machine, not of the store.
_LOCAL = {28, 122, 30, 24, 23}


def explain(error: BaseException, url: str) -> str:
    """What is wrong with a store, and what to do, in one line."""
    kind = type(error).__name__
    text = " ".join(str(error).split()) or kind
    bucket = url.split("://", 1)[1].split("/", 1)[0]
    if _names_no_bucket(error) or isinstance(error, FileNotFoundError):
        return f"there is no bucket {bucket}; create it, or name another"
    if kind in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "TokenRetrievalError"):
        return "there are no credentials; give them in the environment, as the store's own tools take them"
    if isinstance(error, PermissionError) or any(word in text for word in _DENIED):
        return f"access is denied ({text}); check the credentials in the environment, and what they may do"
    if kind in _UNREACHABLE or isinstance(error, ConnectionError | TimeoutError):
        return f"it does not answer ({text}); check its address and the network, then run the same command again"
    return f"{text}; mend that and run the same command again"


_DENIED = (
    "InvalidAccessKeyId", "access key ID", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "Forbidden", "403",
)  # fmt: skip
_UNREACHABLE = (
    "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ClientConnectorError", "ServerTimeoutError",
    "ConnectionClosedError", "ProxyConnectionError", "ServerDisconnectedError", "FSTimeoutError",
)  # fmt: skip


def _names_no_bucket(error: BaseException) -> bool:
    text = f"{error} {error.__cause__ or ''}"
    return "bucket does not exist" in text or "NoSuchBucket" in text or "bucket not found" in text.lower()


def _may_pass(error: BaseException) -> bool:
    """Not a fault of what was asked: the library's own tries were not enough."""
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"):
        return False
    return not any(word in str(error) for word in _DENIED)


def _filesystem(url: str) -> tuple[Any, str]:
    scheme = url.split("://", 1)[0]
    if scheme not in _PACKAGES:
        spoken = ", ".join(f"{name}://" for name in ("s3", "gs"))
        raise UsageError(f"{url}: stores are {spoken}, or a folder that every worker has mounted")
    package = _PACKAGES[scheme]
    try:
        import fsspec

        # A listing that is remembered would not show what other workers put.
        files, path = fsspec.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        name, extra = package or ("fsspec", "run")
        raise UsageError(f"{url} needs the package {name}: pip install 'pairmill[{extra}]' ({error})") from error
    except ValueError as error:
        raise UsageError(f"{url}: {error}") from error
    if hasattr(files, "retries"):
        files.retries = min(files.retries, _LIBRARY_TRIES)
    root = path.rstrip("/")
    if "/" not in root.strip("/"):
        raise UsageError(f"{url}: name a folder in the bucket, such as {url.rstrip('/')}/build")
    return files, root


def check_store(store: ObjectStore) -> None:
    """Make sure that a store can be read and written, refuses a second put, and lists what it has.

    Raises UsageError, one line, for one that cannot serve, or does not answer in time. Costs some six requests.
    """
    ended: list[BaseException | None] = []

    def check() -> None:
        try:
            _check(store)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=check, name="pairmill-store-check", daemon=True)
    thread.start()
    thread.join(CHECK_WITHIN_S)
    if not ended:
        raise UsageError(
            f"{store.url}: it does not answer in {CHECK_WITHIN_S:.0f} s; check its address and the network"
        )
    if ended[0] is not None:
        raise ended[0]


def _check(store: ObjectStore) -> None:
    name = f"pairmill-probe-{uuid.uuid4().hex[:12]}"
    try:
        first = store.put_new_bytes(name, b"1")
        second = store.put_new_bytes(name, b"2")
        if not first or second or store.bytes_of(name) != b"1":
            raise UsageError(
                f"{store.url}: this store does not honour conditional puts (If-None-Match: *), without which two "
                "workers may commit the same block; use one that does, or a shared folder"
            )
        wait_until_listed(lambda: [name] if name in store.entries() else [], [name], store.url)
        store.remove([name])
    except UsageError:
        raise
    except StoreError as error:
        raise UsageError(str(error)) from error


def wait_until_listed(look: Callable[[], Iterable[str]], wanted: Collection[str], where: str) -> None:
    """Wait, with a bound, until a listing names all that this process put; raises StoreError."""
    until = time.monotonic() + LISTED_WITHIN_S
    pause = 0.05
    while missing := set(wanted) - set(look()):
        if time.monotonic() > until:
            raise StoreError(
                f"{where} does not list {min(missing)} {LISTED_WITHIN_S:.0f} s after it was written: listings that "
                "come late would lose rows; use a store or mount with consistent listings"
            )
        time.sleep(pause)
        pause = min(1.0, pause * 2)
