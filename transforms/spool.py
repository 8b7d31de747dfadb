"""The spool of one block: a tar of stored images, and the column file that names it."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from pairmill.sharding.commit_log import Commit
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.free_space import lacking, least_free_bytes
from pairmill.sharding.mirror import fetched, is_there, listed, remove_file, remove_files, seen, shown, upload
from pairmill.sharding.pair import ROW_BITS, block_name
from pairmill.sharding.publish import sync_folder
from pairmill.sharding.step_store import StepStore
from pairmill.sharding.tar import TarAppender
from pairmill.transforms.fetch.outcome import FetchOutcome
from pairmill.transforms.fetch_columns import FETCH_COLUMNS
from pairmill.transforms.image.store import ImageFailure

TAR_BUFFER_BYTES = 1 << 20
#: So many reads at random places keep an NVMe disk busy.
ANNOUNCED_IMAGES = 64
#: A shard of few rows a block, or of shared images, reads from thousands of tars: more than a process may have open.
OPEN_SPOOLS = 256
#: Bytes of images between two looks at the disk.
LOOK_BYTES = 64 << 20
#: In a commit's counts: images that are no longer in the spool, and what they took. See ``spool_drop``.
DROPPED, DROPPED_BYTES = "dropped", "dropped_bytes"

#: Where a stored image lies: the name of its spool tar, its first byte there, and how many bytes it has.
Place = tuple[str, int, int]


class SpoolRoom:
    """The room on the disk of a spool, watched by all that write to it at a time.

    Below ``least_bytes`` (None: what suits the disk) no block is opened; those that are open go on down to half of it.
    ``low`` says why it was stopped.
    """

    def __init__(self, store: StepStore, least_bytes: int | None) -> None:
        self._folder = store.spool_folder
        self._least = least_free_bytes(self._folder) if least_bytes is None else least_bytes
        self.low: str | None = None

    def may_open(self) -> bool:
        """Whether one block more may be opened."""
        self.low = self.low or lacking(self._folder, self._least)
        return self.low is None

    def look(self) -> None:
        """Raise PairmillError where writing must stop."""
        if (low := lacking(self._folder, self._least // 2)) is not None:
            self.low = low
            raise PairmillError(low)


class SpoolSink:
    """Takes the outcomes of one block part in any order, writes the images as they come, commits on ``close``.

    The tar gets its final name (with an attempt of its own in it) before the column file that names it is published;
    where another attempt was first, this one removes its tar.
    """

    def __init__(self, store: StepStore, block: int, part: int, room: SpoolRoom | None = None) -> None:
        self._store, self._block, self._part, self._room = store, block, part, room
        name = block_name(block)
        self._name = f"{name[:-2]}/{name}.p{part}.{uuid.uuid4().hex[:12]}.tar"
        self._path = store.spool_folder / self._name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("wb", buffering=TAR_BUFFER_BYTES)
        self._tar = TarAppender(self._file)
        self._rows: list[dict[str, Any]] = []
        self._look_at = LOOK_BYTES
        self._started = time.monotonic()

    def add(self, row: int, outcome: FetchOutcome) -> None:
        """Keep one outcome; raises OSError where the disk is full, PairmillError before it is if there is a room."""
        record: dict[str, Any] = {
            "row_id": self._block << ROW_BITS | row,
            "status": str(outcome.status.value),
            "status_detail": outcome.detail,
            "attempts": outcome.attempts,
            "fetch_seconds": outcome.seconds,
        }
        stored = outcome.stored
        if isinstance(stored, ImageFailure):
            record["status"], record["status_detail"] = stored.reason, stored.detail
        elif stored is not None:
            record["spool"] = self._name
            record["spool_offset"] = self._tar.add(f"{row:04x}", stored.data)
            record.update(stored.columns())
        self._rows.append(record)
        if self._room is not None and self._tar.position >= self._look_at:
            self._look_at = self._tar.position + LOOK_BYTES
            self._room.look()

    def close(self) -> None:
        """Commit what was added: the tar made durable, then the column file published."""
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sync_folder(self._path.parent)  # the column file must not outlive the name that it tells
        frame = pl.DataFrame(self._rows, schema=FETCH_COLUMNS).sort("row_id")
        counts = fetch_counts(frame)
        if counts.get("ok"):
            upload(self._path)
        else:
            self._path.unlink()
        self._store.commit(
            [self._block],
            [frame],
            part=self._part,
            seconds=time.monotonic() - self._started,
            counts=counts,
            on_loss=lambda: remove_file(self._path),
        )

    def abort(self) -> None:
        """Leave nothing behind, unless the column file that names the tar is already there.

        Where the disk is nearly full, what was added is committed instead: the next run fetches the rest as a part.
        """
        if self._room is not None and self._room.low and self._rows:
            self.close()
            return
        self._file.close()
        if not is_there(self._store.column_path(self._block, self._part)):
            remove_file(self._path)


def fetch_counts(frame: pl.DataFrame) -> dict[str, int]:
    """What the log says of a part: images by status, and ``stored_bytes``."""
    counts: dict[str, int] = dict(Counter(frame.get_column("status").to_list()))
    return counts | {"stored_bytes": int(frame.get_column("stored_bytes").sum())}


def is_dropped(commit: Commit) -> bool:
    """Whether the images of a committed part are no longer in the spool."""
    return DROPPED in commit.counts


def tar_place(tar: Path) -> tuple[int, int]:
    """The block and the part that a spool tar is of: its name says it."""
    block, part = tar.name.split(".")[:2]
    return int(block, 16), int(part[1:])


def find_orphans(store: StepStore, commits: Iterable[Commit]) -> list[Path]:
    """The tars that killed attempts left and no column file names, and those of dropped parts.

    A tar says in its name which block and part it is of. Only where a committed part has several is a column read.
    """
    committed = {(commit.block, commit.part): commit for commit in commits}
    found: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for tar in listed(store.spool_folder, "*/*.p*.*.tar"):
        found[tar_place(tar)].append(tar)
    orphans: list[Path] = []
    for place, tars in found.items():
        commit = committed.get(place)
        if commit is None:
            if not is_there(store.column_path(*place)):  # published, and not yet in the log, is committed too
                orphans += tars
        elif is_dropped(commit):
            orphans += tars
        elif len(tars) > 1:
            named = set(store.read([commit], ["spool"]).get_column("spool").to_list())
            orphans += [tar for tar in tars if tar.relative_to(store.spool_folder).as_posix() not in named]
    return orphans


def remove_orphans(store: StepStore, commits: Iterable[Commit]) -> int:
    """Remove the tars that ``find_orphans`` finds; returns how many. Driver only.

    An attempt that is thought dead may live on, on a machine that nobody reaches: before its tar goes, an empty column
    file takes the name under which it would publish, so that it never commits images that are gone.
    """
    commits = list(commits)
    committed = {(commit.block, commit.part) for commit in commits}
    orphans = find_orphans(store, commits)
    taken = {place: place in committed or _takes_name(store, *place) for place in sorted(set(map(tar_place, orphans)))}
    orphans = [tar for tar in orphans if taken[tar_place(tar)]]
    remove_files(orphans)
    return len(orphans)


def _takes_name(store: StepStore, block: int, part: int) -> bool:
    """Commit a part without rows; False where somebody is first after all."""
    lost: list[bool] = []
    store.commit([block], [pl.DataFrame(schema=FETCH_COLUMNS)], part=part, on_loss=lambda: lost.append(True))
    return not lost


def spool_path(store: StepStore, name: str) -> Path:
    """Where a spool tar named in a column lies."""
    return store.spool_folder / name


def open_spool(store: StepStore, name: str) -> int:
    """A file descriptor to read a spool tar with; raises PairmillError where it is missing."""
    path = spool_path(store, name)
    try:
        return os.open(seen(path), os.O_RDONLY)
    except FileNotFoundError:
        raise PairmillError(
            f"{shown(path)} is missing: the spool was changed by hand; pairmill gc {store.work} --yes notes what is "
            "gone, then the same command fetches it anew"
        ) from None


def read_in_order(store: StepStore, places: Sequence[Place]) -> Iterator[bytes]:
    """The stored images at (spool, offset, size), in the order of ``places``; raises PairmillError as the two others.

    Each is announced to the system some images before it is read: reads at random places of a disk then wait for it
    together and not one after another.
    """
    return _in_order(partial(open_spool, store), partial(read_stored, store), places)


def read_moved(folder: Path, places: Sequence[Place]) -> Iterator[bytes]:
    """The same from files of a build's own that images were brought together in."""
    return _in_order(partial(_open_moved, folder), partial(_read_moved, folder), places)


def _in_order(
    open_file: Callable[[str], int], read: Callable[[str, int, int, int], bytes], places: Sequence[Place]
) -> Iterator[bytes]:
    handles: dict[str, int] = {}

    def opened(name: str) -> int:
        if name not in handles:
            if len(handles) >= OPEN_SPOOLS:
                os.close(handles.pop(next(iter(handles))))
            handles[name] = open_file(name)
        return handles[name]

    try:
        for number in range(-ANNOUNCED_IMAGES, len(places)):
            if number + ANNOUNCED_IMAGES < len(places) and hasattr(os, "posix_fadvise"):  # macOS has none
                name, offset, size = places[number + ANNOUNCED_IMAGES]
                os.posix_fadvise(opened(name), offset, size, os.POSIX_FADV_WILLNEED)
            if number >= 0:
                name, offset, size = places[number]
                yield read(name, opened(name), offset, size)
    finally:
        for handle in handles.values():
            os.close(handle)


def _open_moved(folder: Path, name: str) -> int:
    return os.open(fetched(folder / name), os.O_RDONLY)


def _read_moved(folder: Path, name: str, handle: int, offset: int, size: int) -> bytes:
    image = os.pread(handle, size, offset) if offset >= 0 else b""
    if len(image) != size:
        raise PairmillError(
            f"{folder / name} lacks an image: the build folder was changed while it was in use; run the same command "
            "again"
        )
    return image


def spool_reader(store: StepStore) -> Callable[[str, int, int], bytes]:
    """Gives the stored image at (spool, offset, size); threads may share it. Raises PairmillError as the two others."""

    def read_image(spool: str, offset: int, size: int) -> bytes:
        handle = open_spool(store, spool)  # takes a thousandth of what decoding does
        try:
            return read_stored(store, spool, handle, offset, size)
        finally:
            os.close(handle)

    return read_image


def read_stored(store: StepStore, name: str, handle: int, offset: int, size: int) -> bytes:
    """The stored image at a byte of an opened spool tar; raises PairmillError where the tar ends before."""
    image = os.pread(handle, size, offset)
    if len(image) != size:
        raise PairmillError(
            f"{shown(spool_path(store, name))} ends before the image of {size} bytes at byte {offset}: the spool is "
            f"damaged; remove it, then pairmill gc {store.work} --yes notes that it is gone and the same command "
            "fetches it anew"
        )
    return image
