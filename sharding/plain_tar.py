"""The headers of a tar as webdataset, img2dataset and pairmill write it, as arrays; other tars take the long way.

A tar of a gigabyte has tens of thousands of headers in it. They are looked at through a map of the file, without a call
of the system for each: their sizes one after another, since each tells where the next one is, all else of thousands of
them at once.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pairmill.sharding.tar import BLOCK_BYTES, DATA_AFTER_END_BYTES

_SIZE_AND_TYPE = struct.Struct("124x11s21xB").unpack_from
#: What webdataset writes before every member, its date in a PAX header, and the member's own: both at once.
_DATE_AND_FILE = struct.Struct("124x11s21xB355x512s124x11s21xB355x").unpack_from
_FILE, _PAX, _END = ord("0"), ord("x"), 0
_DOT, _SLASH, _UNDERSCORE, _ASCII_LIMIT = ord("."), ord("/"), ord("_"), 128
_NAME_BYTES = 100
_PREFIX = 345  # of a longer name
MAGIC = (b"ustar\x0000", b"ustar  \x00")  # POSIX, and GNU where names are short
#: Records of a PAX header that change what a member is; dates and owners do not.
_TELLING = (b" path=", b" size=", b" linkpath=", b" GNU.")
#: Headers that are copied out of the map at once: they fit a core's cache.
_AT_ONCE = 1024

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PlainTar:
    """The samples of a tar, in order, and the members of all of them.

    Of samples: ``keys``; ``starts``, where each one's first header lies; ``firsts``, the number of its first member.
    Of members: ``extension``, a place in ``extensions``; ``data``, the offset of its data; ``sizes`` in bytes. ``end``:
    where the last sample ends.
    """

    keys: list[str]
    starts: Numbers
    firsts: Numbers
    extensions: list[str]
    extension: Numbers
    data: Numbers
    sizes: Numbers
    end: int

    @property
    def sample(self) -> Numbers:
        """The number of each member's sample."""
        counts = np.diff(np.append(self.firsts, len(self.data)))
        return np.repeat(np.arange(len(self.keys)), counts)

    @property
    def places(self) -> npt.NDArray[np.uint64]:
        """uint64 (samples, 2): every sample ends where the next one begins."""
        return np.stack([self.starts, np.append(self.starts, self.end)[1:]], axis=1).astype(np.uint64)

    def members_named(self, extension: str) -> Numbers:
        """The numbers of the members of an extension; at most one a sample."""
        if extension not in self.extensions:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(self.extension == self.extensions.index(extension))


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """A tar as bytes that are read when they are looked at; raises ValueError for what is no file, or an empty one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # non-blocking: opening a FIFO must not hang
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a regular file")
        tar = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    tar.madvise(mmap.MADV_RANDOM)  # of most pages nothing is needed
    try:
        yield tar
    finally:
        with suppress(BufferError):  # arrays in the traceback of an error look into it still; it goes with them
            tar.close()


def plain_tar(tar: mmap.mmap) -> PlainTar:
    """The members of a mapped tar that holds nothing but files of plain names, those of each sample side by side.

    Raises ValueError or IndexError for any other, and for a damaged one: ``walk_tar`` and ``group_samples`` tell what.
    """
    begins, data, sizes, end = _walk(tar)
    names = _names(tar, data - BLOCK_BYTES)
    keys: list[bytes] = []
    firsts: list[int] = []
    number_of: dict[bytes, int] = {}
    extension: list[int] = []
    key = b""
    for number, name in enumerate(names):
        base, _, ending = name.partition(b".")
        if base != key:
            key = base
            keys.append(base)
            firsts.append(number)
        extension.append(number_of.setdefault(ending, len(number_of)))
    if len(set(keys)) != len(keys):
        raise ValueError("a key comes back")
    first, kind = np.array(firsts, dtype=np.int64), np.array(extension, dtype=np.int64)
    found = PlainTar(
        keys=b"\0".join(keys).decode("ascii").split("\0") if keys else [],
        starts=begins[first],
        firsts=first,
        extensions=[ending.decode("ascii") for ending in number_of],
        extension=kind,
        data=data,
        sizes=sizes,
        end=end,
    )
    if _repeats(found):
        raise ValueError("a member comes twice")
    return found


def _repeats(found: PlainTar) -> bool:
    """Whether a sample has two members of one extension."""
    each = len(found.data) // max(1, len(found.keys))
    if each and np.array_equal(np.append(found.firsts, len(found.data)), np.arange(len(found.keys) + 1) * each):
        rows = found.extension.reshape(-1, each)
        if not (rows != rows[:1]).any():  # as it mostly is: the first sample speaks for all
            return len(set(rows[0].tolist())) != each
    places = found.sample * len(found.extensions) + found.extension
    return len(np.unique(places)) != len(places)


def _walk(tar: mmap.mmap) -> tuple[Numbers, Numbers, Numbers, int]:
    """Of each member: where its first header begins, where its data begin, their size; and where the members end."""
    begins: list[int] = []
    data: list[int] = []
    sizes: list[int] = []
    at = begin = 0
    dated = False  # whether the member before had a PAX header with its date alone
    last = len(tar) - 3 * BLOCK_BYTES
    try:
        while True:
            if dated and at <= last:
                length, kind, record, digits, plain = _DATE_AND_FILE(tar, at)
                dated = kind == _PAX and plain == _FILE and record[2:9] == b" mtime="
                if dated and record.find(b"\n") + 1 == int(length, 8):
                    begins.append(at)
                    body = at + 3 * BLOCK_BYTES
                    data.append(body)
                    size = int(digits, 8)
                    sizes.append(size)
                    at = begin = body + (size + BLOCK_BYTES - 1 & -BLOCK_BYTES)
                    continue
            digits, kind = _SIZE_AND_TYPE(tar, at)
            if kind == _END:
                break
            size = int(digits, 8)
            body = at + BLOCK_BYTES
            at = body + (size + BLOCK_BYTES - 1 & -BLOCK_BYTES)
            if kind == _FILE:
                begins.append(begin)
                data.append(body)
                sizes.append(size)
                dated = at - begin > BLOCK_BYTES
                begin = at
            elif kind == _PAX:
                check_pax(tar[body : body + size])
            else:
                raise ValueError("no file")
    except struct.error as error:  # the tar ends in the middle
        raise ValueError("damaged") from error
    if at != begin or len(tar) < at + 2 * BLOCK_BYTES or any(tar[at : at + 2 * BLOCK_BYTES]):
        raise ValueError("damaged")
    rest = tar[at : at + DATA_AFTER_END_BYTES]
    if rest.count(0) != len(rest):
        raise ValueError("data follows the end")
    return np.array(begins, np.int64), np.array(data, np.int64), np.array(sizes, np.int64), at


def check_pax(records: bytes) -> None:
    """Raise ValueError for a PAX header that changes what a member is."""
    if any(word in records for word in _TELLING):
        raise ValueError("a PAX header that changes what a member is")


def _names(tar: mmap.mmap, headers: Numbers) -> list[bytes]:
    """The names of the members with these headers; raises ValueError where a header or a name is not plain."""
    blocks = np.frombuffer(tar, dtype=np.uint8, count=len(tar) // BLOCK_BYTES * BLOCK_BYTES).reshape(-1, BLOCK_BYTES)
    names: list[bytes] = []
    for start in range(0, len(headers), _AT_ONCE):
        found = blocks[headers[start : start + _AT_ONCE] // BLOCK_BYTES]
        _check_headers(found)
        letters = np.ascontiguousarray(found[:, :_NAME_BYTES])
        _check_names(letters)
        names += letters.view(f"S{_NAME_BYTES}")[:, 0].tolist()
    return names


def _check_headers(headers: npt.NDArray[np.uint8]) -> None:
    magic = headers[:, 257:265]
    plain = np.zeros(len(headers), dtype=bool)
    for known in MAGIC:
        plain |= (magic == np.frombuffer(known, dtype=np.uint8)).all(axis=1)
    if not plain.all() or headers[:, _PREFIX].any():
        raise ValueError("no header of a plain file")
    stored = np.ascontiguousarray(headers[:, 148:154]).view("S6")[:, 0].tolist()
    # The sum of all bytes, with its own field read as eight spaces; two sums of four bytes at a time.
    words = headers.view("<u8")
    low = np.uint64(0x00FF00FF00FF00FF)
    pairs = ((words & low) + (words >> np.uint64(8) & low)).sum(axis=1)  # four counts of 16 bits
    total = sum((pairs >> np.uint64(shift) & np.uint64(0xFFFF)).astype(np.int64) for shift in (0, 16, 32, 48))
    total = total - headers[:, 148:156].sum(axis=1, dtype=np.int64) + 8 * ord(" ")
    if not np.array_equal(total, np.array([int(digits, 8) for digits in stored])):
        raise ValueError("a wrong checksum")


def _check_names(letters: npt.NDArray[np.uint8]) -> None:
    """``KEY.EXTENSION`` in ASCII, in no folder; names that begin with two underlines belong to no sample."""
    dots = letters == _DOT
    if not dots.any(axis=1).all() or dots[:, 0].any():
        raise ValueError("a name without key or extension")
    if (letters >= _ASCII_LIMIT).any() or (letters == _SLASH).any():
        raise ValueError("no plain name")
    if (letters[:, :2] == _UNDERSCORE).all(axis=1).any():
        raise ValueError("no sample's name")
    if ((letters[:, 1:] != 0) & (letters[:, :-1] == 0)).any():
        raise ValueError("a name with a zero byte in it")
