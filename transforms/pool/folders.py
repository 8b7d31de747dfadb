"""A folder of images with captions beside them: ``a/b.jpg`` and ``a/b.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pairmill.transforms.pool.listing import IMAGE_SUFFIXES, walk
from pairmill.transforms.pool.records import Record

#: A caption file longer than this is cut there.
MAX_CAPTION_BYTES = 16 << 20


def is_image(name: str) -> bool:
    """Whether the file name says that it is an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


class TextTally:
    """Counts the ``.txt`` files without an image of their stem beside them, over file names in walking order.

    In that order all names that begin with ``STEM.`` follow each other, so only a few stems are held at a time.
    """

    def __init__(self) -> None:
        self._unpaired = 0
        self._open: dict[str, tuple[bool, bool]] = {}

    def add(self, name: str) -> None:
        """Take the next name."""
        for stem in [s for s in self._open if not name.startswith(f"{s}.")]:
            self._close(stem)
        stem, _, suffix = name.rpartition(".")
        if is_image(name) or suffix == "txt":
            image, text = self._open.get(stem, (False, False))
            self._open[stem] = (image or is_image(name), text or suffix == "txt")

    def end(self) -> None:
        """No more names come."""
        for stem in list(self._open):
            self._close(stem)

    def take(self) -> int:
        """The number since the last call."""
        taken, self._unpaired = self._unpaired, 0
        return taken

    def _close(self, stem: str) -> None:
        image, text = self._open.pop(stem)
        self._unpaired += text and not image


def caption_of(raw: bytes) -> str | None:
    """A caption file's text without byte order mark and final line breaks; null if nothing is left.

    Raises UnicodeDecodeError when it is not UTF-8.
    """
    return raw.decode("utf-8-sig").rstrip("\r\n") or None


def folder_records(root: Path, first: str, last: str) -> Iterator[Record]:
    """One record for each image from ``first`` to ``last``, with its path and its caption (null without a txt)."""
    for found in walk(root, first, last):
        if is_image(found.name):
            yield _record(root, found.name)


def _record(root: Path, name: str) -> Record:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # a file name of other bytes can be no text column
        return Record(error="not_utf8")
    known: dict[str, object] = {"path": name}
    try:
        with open(root / f"{name.rpartition('.')[0]}.txt", "rb") as opened:
            caption = caption_of(opened.read(MAX_CAPTION_BYTES))
    except FileNotFoundError:
        return Record(known=known)
    except UnicodeDecodeError:
        return Record(known=known, error="not_utf8")
    return Record(known={**known, "caption": caption} if caption is not None else known)
