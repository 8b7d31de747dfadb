"""WebDataset tars as img2dataset writes them: ``KEY.jpg``, ``KEY.txt`` and ``KEY.json`` in a row make one sample."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from pairmill.transforms.pool.folders import caption_of, is_image
from pairmill.transforms.pool.records import Record, json_record
from pairmill.transforms.pool.rows import PLACE
from pairmill.transforms.pool.spec import PoolError

#: Fields of img2dataset's json that say how it stored the image; the key stays as ``pool_key``.
TAR_DROPPED = frozenset(("key", "status", "error_message", "width", "height", "exif"))

#: A text or json member longer than this is no caption.
MAX_TEXT_BYTES = 16 << 20


def tar_records(path: Path, name: str) -> Iterator[Record]:
    """One record for each sample of a tar, in the order of the tar; ``name`` is its path in the pool.

    Known of each: path (of the tar), tar_offset and tar_bytes of the image (the first, should there be several), the
    caption (the txt, else the json's), pool_key. Fields are the json's. Without an image the error is ``no_image``.
    Raises PoolError when the tar cannot be read to its end.
    """
    held: dict[str, tuple[int, int, bytes | None]] = {}
    key = None
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # it keeps every header otherwise
                place, _, suffix = _parted(member.name)
                if not member.isreg() or not suffix or place.rpartition("/")[2].startswith("__"):
                    continue
                if held and (place != key or suffix in held):
                    yield _record(name, str(key), held)
                    held = {}
                key = place
                text = _text(tar, member) if suffix in ("txt", "json") else None
                held[suffix] = (member.offset_data, member.size, text)
            _check_end(path, tar)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise PoolError(f"{path}: is not a readable tar ({error}); fetch it again or take it out") from error
    if held:
        yield _record(name, str(key), held)


def _parted(name: str) -> tuple[str, str, str]:
    """A member's key with its folders, and the extension after the first dot of the base name, in lower case."""
    name = name.removeprefix("./")
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return (f"{folder}{slash}{stem}", dot, suffix.lower()) if stem else ("", "", "")


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    opened = tar.extractfile(member) if member.size <= MAX_TEXT_BYTES else None
    return opened.read() if opened is not None else None


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """tarfile takes a tar that was cut between two members, or inside the last, for a whole one."""
    with open(path, "rb") as opened:
        opened.seek(0, 2)
        size = opened.tell()
        opened.seek(max(0, size - 1024))
        if size < 1024 or opened.read().strip(b"\0"):
            raise PoolError(f"{path}: ends in the middle, without the two blocks that close a tar; fetch it again")


def _record(name: str, key: str, held: dict[str, tuple[int, int, bytes | None]]) -> Record:
    record = Record()
    if "json" in held:
        record = json_record(held["json"][2] or b"")
    error = record.error
    known: dict[str, object] = {"path": name, "pool_key": key, PLACE: f"{name}/{key}"}
    image = next((suffix for suffix in held if is_image(f"x.{suffix}")), None)
    if image is None:
        error = error or "no_image"
    else:
        known["tar_offset"], known["tar_bytes"] = held[image][:2]
    if "txt" in held:
        try:
            caption = caption_of(held["txt"][2] or b"")
        except UnicodeDecodeError:
            caption, error = None, error or "not_utf8"
        if caption is not None:
            known["caption"] = caption
    return Record(record.fields, known, error)
