"""Whether a file is a whole fastText classifier, found out by walking over it without loading it.

fastText does not check what it reads: from a truncated file it takes sizes that are not there and ends the process
with a signal, fills its memory, or loads and answers wrongly. Layout: fastText's ``FastText::loadModel``, version 12.
floret, which trains classifiers of our own, writes the same but for two more numbers among the arguments; neither of
the two reads the other's files.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Literal

_MAGIC = 793712314
_VERSIONS = (11, 12)
_SUPERVISED = 3
_IS_LABEL = 1
#: The arguments of training, by the library that writes them; floret's have its mode and its number of hashes.
_ARGUMENTS = {"fasttext": "12id", "floret": "14id"}
_CENTROIDS = 256  # of a product quantizer, each a float


class _Walk:
    """A place in the file that moves over what is read; struct.error or IndexError past the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.place = 0
        self.labels: list[str] = []

    def numbers(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.place)
        self.place += struct.calcsize("<" + layout)
        return values

    def skip(self, size: int) -> None:
        if size < 0 or self.place + size > len(self.data):
            raise IndexError("past the end")
        self.place += size

    def dictionary(self) -> None:
        entries, _words, labels, _tokens, pruned = self.numbers("iiiqq")
        if labels < 1:
            raise ValueError("it has no labels")
        for _ in range(entries):
            start, end = self.place, self.data.find(b"\0", self.place)
            self.skip(end + 1 - start + 9)  # the text, its count and its kind
            if self.data[self.place - 1] == _IS_LABEL:
                self.labels.append(self.data[start:end].decode("utf-8", "replace"))
        self.skip(8 * max(pruned, 0))

    def matrix(self, quantized: bool) -> None:
        if not quantized:
            rows, columns = self.numbers("qq")
            self.skip(4 * rows * columns)
            return
        with_norms, rows, _columns, codes = self.numbers("?qqi")
        self.skip(codes)
        self.quantizer()
        if with_norms:
            self.skip(rows)
            self.quantizer()

    def quantizer(self) -> None:
        dimensions, _parts, _size, _last = self.numbers("iiii")
        self.skip(4 * dimensions * _CENTROIDS)


def check_classifier_file(path: Path) -> None:
    """Raise ValueError, saying what is wrong, unless the file is a fastText classifier from its first byte to its last.

    The bytes of its numbers are not judged: only a checksum can tell whether they are the published ones.
    """
    _walk(path, "fasttext")


def classifier_labels(path: Path) -> tuple[Literal["fasttext", "floret"], tuple[str, ...]]:
    """Which library reads a classifier, and its labels. Raises ValueError as above where it is whole for neither."""
    try:
        return "floret", _walk(path, "floret")
    except ValueError:
        return "fasttext", _walk(path, "fasttext")


def _walk(path: Path, library: str) -> tuple[str, ...]:
    """The labels of a classifier that ``library`` wrote."""
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        walk = _Walk(data)
        try:
            magic, version = walk.numbers("ii")
            if magic != _MAGIC or version not in _VERSIONS:
                raise ValueError("it is no fastText model")
            arguments = walk.numbers(_ARGUMENTS[library])
            if arguments[7] != _SUPERVISED:
                raise ValueError("it holds word vectors and no classifier")
            walk.dictionary()
            quantized = bool(walk.numbers("?")[0])
            walk.matrix(quantized)
            output_quantized = bool(walk.numbers("?")[0])
            walk.matrix(quantized and output_quantized)
        except (struct.error, IndexError):
            raise ValueError("it is truncated or damaged") from None
        if walk.place != len(data):
            raise ValueError(f"it is damaged: {len(data) - walk.place} bytes follow its end")
        return tuple(walk.labels)
