"""Writing tars fast and always alike, and walking anyone's tars without unpacking them.

What is written is POSIX USTAR, never PAX or GNU long names (trainers' readers know only the 100-byte name field), with
every field but name and size fixed, so that the same members give the same bytes on any machine and on any day.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from pairmill.sharding.errors import PairmillError

BLOCK_BYTES = 512
RECORD_BYTES = 10_240  # tar's blocking factor of 20: GNU tar and tarfile fill the last record with zeros
MAX_NAME_BYTES = 100
MAX_MEMBER_BYTES = 8**11 - 1  # eleven octal digits

_MODE_TO_GID = b"0000444\0" + b"0000000\0" * 2
_MTIME = b"%011o\0" % 0
_AFTER_CHECKSUM = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)
# A checksum is the sum of the header's bytes with its own field read as eight spaces.
_FIXED_SUM = sum(_MODE_TO_GID) + sum(_MTIME) + sum(_AFTER_CHECKSUM) + 8 * ord(" ")
_ZEROS = bytes(RECORD_BYTES)

_LONG_NAME_BYTES = 1 << 20
_WINDOW_BYTES = 4096
_REGULAR = "0"
_NO_DATA_TYPES = frozenset("123456")  # links, devices, folders and FIFOs hold none, whatever their size field says
DATA_AFTER_END_BYTES = 1 << 20


class ByteSink(Protocol):
    """Whatever takes bytes in order."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Take all of ``data``."""
        ...


def padding(size: int) -> int:
    """How many zero bytes follow ``size`` bytes of data so that the next header starts a block."""
    return -size % BLOCK_BYTES


def member_header(name: str, size: int) -> bytes:
    """The 512-byte USTAR header of a regular file, equal to tarfile's with mode 0444 and all else zero or empty.

    Raises ValueError for a name that is empty, longer than 100 bytes, not ASCII or with a space (DALI's index is split
    at spaces), and for a size that eleven octal digits cannot hold.
    """
    if not name.isascii() or not 1 <= len(name) <= MAX_NAME_BYTES or " " in name or "\0" in name:
        raise ValueError(f"tar member name {name[:120]!r} must be 1 to {MAX_NAME_BYTES} ASCII characters, no spaces")
    if not 0 <= size <= MAX_MEMBER_BYTES:
        raise ValueError(f"tar member {name!r} has {size} bytes; the format holds at most {MAX_MEMBER_BYTES}")
    encoded = name.encode("ascii")
    digits = b"%011o\0" % size
    checksum = sum(encoded) + sum(digits) + _FIXED_SUM
    return b"".join(
        (encoded.ljust(100, b"\0"), _MODE_TO_GID, digits, _MTIME, b"%06o\0 " % checksum, _AFTER_CHECKSUM),
    )


class TarAppender:
    """Writes one tar from its start to ``sink``, which it does not close."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        #: Where the next header goes; after ``close``, the size of the tar in bytes.
        self.position = 0

    def add(self, name: str, data: bytes | bytearray | memoryview) -> int:
        """Write one regular file; returns the offset of its data in the tar. Raises as ``member_header`` does."""
        size = len(data)
        self._sink.write(member_header(name, size))
        self._sink.write(data)
        if fill := padding(size):
            self._sink.write(_ZEROS[:fill])
        offset = self.position + BLOCK_BYTES
        self.position = offset + size + fill
        return offset

    def close(self) -> int:
        """Write the end: two zero blocks, filled up to whole records; returns the offset where the end starts."""
        end = self.position
        self._sink.write(_ZEROS[: 2 * BLOCK_BYTES])
        self.position += 2 * BLOCK_BYTES
        self._sink.write(_ZEROS[: -self.position % RECORD_BYTES])
        self.position += -self.position % RECORD_BYTES
        return end


class DamagedTarError(PairmillError):
    """A tar that cannot be walked to its end; says which file, at which byte, and what is wrong, in one line."""

    def __init__(self, path: str | Path, offset: int, what: str) -> None:
        super().__init__(str(path), offset, what)
        self.path = str(path)
        self.offset = offset
        self.what = what

    def __str__(self) -> str:
        return f"{self.path}: at byte {self.offset}: {self.what}"


class TarMember(NamedTuple):
    """One member: its full name, where its (first) header and its data start, data bytes, and the type character.

    ``type`` is "0" for a regular file, "1" and "2" for links, "3" and "4" for devices, "5" a folder, "6" a FIFO.
    ``header_offset`` counts a preceding long-name or PAX header in, as ``tarfile.TarInfo.offset`` does.
    """

    name: str
    header_offset: int
    data_offset: int
    size: int
    type: str


def walk_tar(path: str | Path) -> Iterator[TarMember]:
    """The members of an uncompressed tar in order, reading headers only.

    Knows USTAR prefixes, GNU long names and numbers, and PAX paths and sizes. Names that are not UTF-8 come with
    surrogate escapes. Raises OSError when the file cannot be read, and DamagedTarError for a truncated file, a wrong
    checksum, a missing end, and data after the end; members before the damage have been given by then.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # non-blocking: opening a FIFO must not hang
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise DamagedTarError(path, 0, "is not a regular file")
        yield from _Walk(path, lambda size, offset: os.pread(descriptor, size, offset), info.st_size).members()
    finally:
        os.close(descriptor)


def walk_members(path: str | Path, data: bytes) -> Iterator[TarMember]:
    """The members in a part of the tar at ``path``: whole members with their headers; offsets are those in ``data``.

    Raises DamagedTarError as ``walk_tar`` does.
    """
    ended = data + _ZEROS[: 2 * BLOCK_BYTES]
    return _Walk(path, lambda size, offset: ended[offset : offset + size], len(ended)).members()


class _Walk:
    """The state of one walk: a window of bytes read ahead, and what extension headers said of the next member."""

    def __init__(self, path: str | Path, read_at: Callable[[int, int], bytes], size: int) -> None:
        self._path = path
        self._read_at = read_at  # (bytes, offset)
        self._size = size
        self._window = b""
        self._window_start = 0

    def members(self) -> Iterator[TarMember]:
        offset = 0
        start: int | None = None  # of the extension headers before the next member
        long_name: str | None = None
        pax: dict[str, str] = {}
        while (header := self._header(offset)) is not None:
            kind = chr(header[156])
            size = self._number(header, 124, 136, offset, "size")
            data = offset + BLOCK_BYTES
            if kind in "LKxXg":
                start = offset if start is None else start
                text = self._extension(data, size)
                if kind == "L":
                    long_name = _text(text.split(b"\0", 1)[0])
                elif kind in "xX":
                    pax.update(self._pax_records(text, data))
            else:
                name = pax.get("path") or long_name or _header_name(header)
                if "size" in pax:
                    size = self._pax_size(pax["size"], offset)
                if kind in "\0" + "7":
                    kind = "5" if kind == "\0" and name.endswith("/") else _REGULAR
                if kind == "S":
                    raise DamagedTarError(self._path, offset, f"{name!r} is a sparse file, which no trainer reads")
                if kind in _NO_DATA_TYPES:
                    size = 0
                if kind == "5":
                    name = name.rstrip("/")
                self._require(data, size, name)
                yield TarMember(name, offset if start is None else start, data, size, kind)
                start, long_name, pax = None, None, {}
            offset = data + size + padding(size)
        if start is not None:
            raise DamagedTarError(self._path, start, "a long name or PAX header is followed by no member")

    def _header(self, offset: int) -> bytes | None:
        """The checked header at ``offset``, or None at the end of the tar."""
        place = offset - self._window_start
        header = self._window[place : place + BLOCK_BYTES] if place >= 0 else b""
        if len(header) < BLOCK_BYTES:
            self._window = self._read_at(_WINDOW_BYTES, offset)
            self._window_start = offset
            header = self._window[:BLOCK_BYTES]
        if len(header) < BLOCK_BYTES:
            raise DamagedTarError(self._path, offset, self._no_header(header))
        stored = header[148:156]
        if sum(header) - sum(stored) + 256 != _octal(stored):
            if not any(header):
                self._check_end(offset)
                return None
            raise DamagedTarError(self._path, offset, self._bad_header(header, offset))
        return header

    def _no_header(self, header: bytes) -> str:
        if not self._size:
            return "the file is empty, not a tar"
        what = "in the middle of a header" if header else "without the two zero blocks that end a tar"
        return f"truncated: the file ends {what}"

    @staticmethod
    def _bad_header(header: bytes, offset: int) -> str:
        if offset == 0:
            if header.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")):
                return "is compressed; unpack it first, trainers with indexes read plain tars only"
            return "is not a tar: the first header's checksum is wrong"
        return "the checksum of the header is wrong"

    def _check_end(self, offset: int) -> None:
        rest = self._read_at(DATA_AFTER_END_BYTES, offset + BLOCK_BYTES)
        if len(rest) < BLOCK_BYTES:
            raise DamagedTarError(self._path, offset, "truncated: one zero block where two end a tar")
        if rest.count(0) != len(rest):
            raise DamagedTarError(self._path, offset, "data follows the end of the tar; readers stop here")

    def _number(self, header: bytes, start: int, stop: int, offset: int, what: str) -> int:
        field = header[start:stop]
        if field[0] == 0x80:  # GNU: a big-endian number for what eleven octal digits cannot hold
            return int.from_bytes(field[1:], "big")
        value = _octal(field)
        if value is None:
            raise DamagedTarError(self._path, offset, f"the {what} field of the header is not a number")
        return value

    def _pax_size(self, text: str, offset: int) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise DamagedTarError(self._path, offset, "the PAX size is not a number")
        return int(text)

    def _extension(self, data: int, size: int) -> bytes:
        if size > _LONG_NAME_BYTES:
            raise DamagedTarError(self._path, data, f"a long name or PAX header of {size} bytes")
        self._require(data, size, "long name or PAX header")
        return self._read_at(size, data)

    def _require(self, data: int, size: int, name: str) -> None:
        if data + size + padding(size) > self._size:
            raise DamagedTarError(
                self._path,
                data,
                f"truncated: {name!r} has {size} bytes, the file ends after {max(0, self._size - data)} of them",
            )

    def _pax_records(self, text: bytes, offset: int) -> dict[str, str]:
        """The records ``LENGTH KEY=VALUE`` and a newline each; LENGTH counts the whole record."""
        records: dict[str, str] = {}
        while text.rstrip(b"\0"):
            digits, space, _ = text[:20].partition(b" ")
            length = int(digits) if space and digits.isdigit() else 0
            record = text[len(digits) + 1 : length]
            key, equals, value = record.partition(b"=")
            if not equals or not record.endswith(b"\n") or len(record) != length - len(digits) - 1:
                raise DamagedTarError(self._path, offset, "a PAX header that cannot be read")
            records[_text(key)] = _text(value[:-1])
            text = text[length:]
        return records


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _octal(field: bytes) -> int | None:
    digits = field.split(b"\0", 1)[0].strip()
    if digits and (not digits.isdigit() or b"8" in digits or b"9" in digits):
        return None
    return int(digits or b"0", 8)


def _header_name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    # Old GNU headers keep times where POSIX keeps the prefix.
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0", 1)[0]):
        name = prefix + b"/" + name
    return _text(name)
