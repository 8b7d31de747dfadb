"""Files of a work or build folder, wherever it lies: on a path that all workers share, or as objects under a URL.

Steps write and read files by path. Of a folder on a shared path these are the files themselves, and nothing here does
more than the call of the operating system would. Of a URL every machine has a **mirror**: a cache folder in which a
file stands for an object of the same name. A file gets its final name here only when the store has it (so that a
mirror never holds the only copy of what was committed), and is fetched when it is first asked for. What is in the
store is read-only in the mirror, and may be removed from there at any time to make room.
"""

from __future__ import annotations

import atexit
import fcntl
import fnmatch
import hashlib
import os
import shutil
import stat
import threading
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pairmill.sharding.mirror_space import CacheSpace, cache_folder
from pairmill.sharding.network_mount import refresh_folder, wait_until_seen
from pairmill.sharding.object_store import ObjectStore, is_url, wait_until_listed

_READ_ONLY = 0o444
#: Names that no object has.
_UNFINISHED = ".tmp-"


@dataclass(eq=False)
class _Mirror:
    url: str
    root: Path
    lock: int
    own: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # folder → what this process put there
    pulled: set[str] = field(default_factory=set)
    busy: dict[Path, tuple[threading.Lock, int]] = field(default_factory=dict)

    @contextmanager
    def fetching(self, path: Path) -> Iterator[None]:
        """Be the only thread that fetches a file."""
        with _OPENING:
            lock, waiting = self.busy.get(path, (threading.Lock(), 0))
            self.busy[path] = (lock, waiting + 1)
        try:
            with lock:
                yield
        finally:
            with _OPENING:
                waiting = self.busy.pop(path)[1] - 1
                if waiting:
                    self.busy[path] = (lock, waiting)

    @cached_property
    def store(self) -> ObjectStore:
        return ObjectStore(self.url)

    @cached_property
    def space(self) -> CacheSpace:
        return CacheSpace(self.root.parents[1])

    def name(self, path: Path) -> str:
        name = path.relative_to(self.root).as_posix()
        return "" if name == "." else name

    def has(self, path: Path) -> None:
        """Note a file that is in the store too."""
        os.chmod(path, _READ_ONLY)
        self.space.grown(path.stat().st_size)

    def put(self, path: Path) -> None:
        folder, _, name = self.name(path).rpartition("/")
        self.own[folder].add(name)


_MIRRORS: dict[str, _Mirror] = {}  # URL → its mirror in this process
_ROOTS: list[tuple[str, _Mirror]] = []
_OPENING = threading.Lock()


def open_place(place: str | os.PathLike[str]) -> Path:
    """The folder by which this process knows a place: the path itself, or the mirror of a URL.

    A mirror begins empty unless other processes of this machine have it open. Raises OSError where the cache folder
    cannot be made, UsageError for a URL that nothing here speaks.
    """
    if not is_url(place):
        return Path(place)
    url = os.fspath(place).rstrip("/")
    mirror = _MIRRORS.get(url)
    if mirror is None:
        with _OPENING:
            mirror = _MIRRORS.get(url) or _open_mirror(url)
    return mirror.root


def place_of(path: Path) -> str:
    """The inverse of ``open_place``: the URL, or the absolute path."""
    mirror = _mirror_of(path)
    if mirror is None:
        return str(path.resolve())
    return "/".join(part for part in (mirror.url, mirror.name(path)) if part)


def shown(path: Path) -> str:
    """A path as its user named it: the URL of what is mirrored."""
    return place_of(path) if _mirror_of(path) is not None else str(path)


def is_mirrored(path: Path) -> bool:
    """Whether the path stands for an object of a store."""
    return _mirror_of(path) is not None


def store_of(path: Path) -> tuple[ObjectStore, str] | None:
    """The store behind a path and the name in it; None for what lies on a path of its own."""
    mirror = _mirror_of(path)
    return (mirror.store, mirror.name(path)) if mirror is not None else None


def make_way(path: Path) -> None:
    """Have the folder of a file here; a store has none, and that of another machine's mirror is not in this one."""
    if _mirror_of(path) is not None:
        path.parent.mkdir(parents=True, exist_ok=True)


def settle(attempt: Path, final: Path) -> None:
    """Give a finished file its final name, in place of what stood there: in the store first. No sync."""
    mirror = _mirror_of(final)
    if mirror is None:
        os.replace(attempt, final)
        return
    mirror.store.put(attempt, mirror.name(final))
    os.replace(attempt, final)
    mirror.put(final)
    mirror.has(final)


def settle_once(attempt: Path, final: Path) -> bool | None:
    """For ``publish_once``: put a file under a name that nobody has; None where no store is behind the path.

    Where another attempt was first, its file is then there. The attempt's own name is gone afterwards.
    """
    mirror = _mirror_of(final)
    if mirror is None:
        return None
    winner = final.with_name(f"{final.name}{_UNFINISHED}{uuid.uuid4().hex[:12]}")
    try:
        won = mirror.store.put_new(attempt, mirror.name(final), winner)
        os.replace(attempt if won else winner, final)
    finally:
        attempt.unlink(missing_ok=True)
        winner.unlink(missing_ok=True)
    mirror.put(final)
    mirror.has(final)
    return won


def upload(path: Path, growing: Path | None = None) -> None:
    """Put a file that was written under its final name, or one that still grows under another, as it is now."""
    mirror = _mirror_of(path)
    if mirror is not None:
        mirror.store.put(growing or path, mirror.name(path))
        mirror.put(path)
        if growing is None:
            mirror.has(path)


def upload_folder(folder: Path) -> None:
    """Put every file below a folder whose writer wrote them in place."""
    if _mirror_of(folder) is not None:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and _UNFINISHED not in path.name and path.stat().st_mode & stat.S_IWUSR:
                upload(path)


def fetched(path: Path) -> Path:
    """``path``, after fetching it where it is not here; the file never changes once it is there.

    Raises FileNotFoundError where the store has no such object.
    """
    mirror = _mirror_of(path)
    if mirror is None:
        return path
    try:
        os.utime(path)  # what was asked for last is kept longest
        return path
    except FileNotFoundError:
        pass
    with mirror.fetching(path):
        if not path.exists():
            if not mirror.space.for_more(lambda: mirror.store.get(mirror.name(path), path)):
                raise FileNotFoundError(2, "No such object", shown(path))
            mirror.has(path)
    return path


def seen(path: Path) -> Path:
    """As ``fetched``, for a file that another machine has published: on a shared mount it may take a while to show."""
    if _mirror_of(path) is None:
        wait_until_seen(path)  # the one who opens it tells that it is not there
        return path
    return fetched(path)


def fetched_all(paths: Sequence[Path]) -> Sequence[Path]:
    """As ``fetched``, several at a time; the store must have them all."""
    mirror = _mirror_of(paths[0]) if paths else None
    if mirror is not None:
        missing = [path for path in paths if not path.exists()]
        if missing:
            names = [mirror.name(path) for path in missing]
            mirror.space.for_more(lambda: mirror.store.get_all(names, mirror.root))
            for path in missing:
                mirror.has(path)
    return paths


def fresh(path: Path) -> Path:
    """``path``, with what the store has now: for the few files that change. Absent here where it is absent there."""
    mirror = _mirror_of(path)
    if mirror is not None and not mirror.store.get(mirror.name(path), path):
        path.unlink(missing_ok=True)
    return path


def fresh_all(paths: Sequence[Path]) -> Sequence[Path]:
    """As ``fresh``, several at a time; the store must have them all."""
    mirror = _mirror_of(paths[0]) if paths else None
    if mirror is not None:
        mirror.store.get_all([mirror.name(path) for path in paths], mirror.root)
    return paths


def is_there(path: Path) -> bool:
    """Whether there is a file of that name, as ``Path.is_file`` of a shared folder."""
    mirror = _mirror_of(path)
    return path.is_file() if mirror is None else mirror.store.size(mirror.name(path)) is not None


def size_of(path: Path) -> int:
    """The size of a file in bytes; raises FileNotFoundError."""
    mirror = _mirror_of(path)
    if mirror is None:
        return path.stat().st_size
    size = mirror.store.size(mirror.name(path))
    if size is None:
        raise FileNotFoundError(2, "No such object", shown(path))
    return size


def listed(folder: Path, pattern: str) -> list[Path]:
    """The finished files that match ``pattern`` below a folder, sorted; they may still have to be fetched.

    Raises StoreError where a store does not list in time what this process put there.
    """
    mirror = _mirror_of(folder)
    if mirror is None:
        refresh_folder(folder)
        return sorted(folder.glob(pattern))
    return list(_listed(mirror, folder, pattern))


def listed_sizes(folder: Path, pattern: str) -> dict[Path, int]:
    """As ``listed``, with sizes in bytes."""
    mirror = _mirror_of(folder)
    if mirror is None:
        return {path: path.stat().st_size for path in listed(folder, pattern)}
    return _listed(mirror, folder, pattern)


def _listed(mirror: _Mirror, folder: Path, pattern: str) -> dict[Path, int]:
    prefix = mirror.name(folder)
    cut = len(prefix) + 1 if prefix else 0
    found: dict[str, int] = {}

    def look() -> Iterable[str]:
        found.update({name[cut:]: size for name, size in mirror.store.sizes(prefix).items()})
        return found

    wait_until_listed(look, mirror.own[prefix], shown(folder))
    depth = pattern.count("/")
    return {
        folder / name: found[name]
        for name in sorted(found)
        if ("**" in pattern or name.count("/") == depth) and fnmatch.fnmatchcase(name, pattern.replace("**/", "*"))
    }


def entries(folder: Path) -> list[str]:
    """The names of files and folders directly in a folder; none where it is not there."""
    mirror = _mirror_of(folder)
    if mirror is None:
        return sorted(os.listdir(folder)) if folder.is_dir() else []
    return mirror.store.entries(mirror.name(folder))


def pull(folder: Path, moment: str, lazily: Collection[str] = ()) -> None:
    """Have every finished file below a folder here, but those with a suffix of ``lazily``; once a moment and process.

    ``moment`` names a point of the run at which all that is needed has been put: a stage behind a barrier.
    """
    mirror = _mirror_of(folder)
    if mirror is None or f"{folder}\0{moment}" in mirror.pulled:
        return
    prefix = mirror.name(folder)
    names = [name for name in mirror.store.sizes(prefix) if Path(name).suffix not in lazily]
    fetched_all([path for name in names if not (path := mirror.root / name).exists()])
    mirror.pulled.add(f"{folder}\0{moment}")


def remove_file(path: Path) -> None:
    """Remove a file, here and in the store; one that is not there is passed over."""
    remove_files([path])


def remove_files(paths: Sequence[Path]) -> None:
    """Remove several files, see ``remove_file``."""
    mirror = _mirror_of(paths[0]) if paths else None
    if mirror is not None:
        mirror.store.remove([mirror.name(path) for path in paths])
    for path in paths:
        path.unlink(missing_ok=True)
        if mirror is not None:
            folder, _, name = mirror.name(path).rpartition("/")
            mirror.own[folder].discard(name)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, here and in the store."""
    mirror = _mirror_of(folder)
    if mirror is not None:
        prefix = mirror.name(folder)
        mirror.store.remove(list(mirror.store.sizes(prefix)))
        for put in [put for put in mirror.own if put == prefix or put.startswith(f"{prefix}/")]:
            del mirror.own[put]
    shutil.rmtree(folder, ignore_errors=True)


def close_mirrors() -> None:
    """Let go of every mirror; what no other process uses is removed."""
    with _OPENING:
        for mirror in list(_MIRRORS.values()):
            if _alone(mirror.lock):
                shutil.rmtree(mirror.root, ignore_errors=True)
            os.close(mirror.lock)
        _MIRRORS.clear()
        _ROOTS.clear()


def _mirror_of(path: Path) -> _Mirror | None:
    if not _ROOTS:
        return None
    told = str(path)
    for root, mirror in _ROOTS:
        if told.startswith(root) and (len(told) == len(root) or told[len(root)] == "/"):
            return mirror
    return None


def _open_mirror(url: str) -> _Mirror:
    store = ObjectStore(url)  # before a folder is made for what cannot be opened
    cache = cache_folder()
    folder = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(cache, folder)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    if _alone(lock):
        shutil.rmtree(folder / "files", ignore_errors=True)  # of processes that were killed
    fcntl.flock(lock, fcntl.LOCK_SH)
    root = (folder / "files").resolve()
    root.mkdir(exist_ok=True)
    mirror = _Mirror(url, root, lock)
    mirror.__dict__["store"] = store
    if not _MIRRORS:
        atexit.register(close_mirrors)
    _MIRRORS[url] = mirror
    _ROOTS.append((str(root), mirror))
    return mirror


def _alone(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(cache: Path, keep: Path) -> None:
    """Remove the mirrors that nobody uses any more."""
    for lock in cache.glob("*/lock"):
        with suppress(OSError):
            if lock.parent != keep:
                handle = os.open(lock, os.O_RDWR)
                try:
                    if _alone(handle):
                        shutil.rmtree(lock.parent / "files", ignore_errors=True)
                finally:
                    os.close(handle)
