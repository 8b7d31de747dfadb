"""Pool files as lines: plain, gzip and zstandard, with damage turned into one clear error."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from pairmill.transforms.pool.spec import PoolError

#: A line longer than this is no table row; without a limit, a file with no line break would fill the memory.
MAX_LINE_BYTES = 64 << 20

_CHUNK = 1 << 18


class _ZstdFile(io.RawIOBase):
    """A zstandard file of any number of frames. The library's own reader takes a truncated frame for the end."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._fresh = True  # nothing was fed into the frame yet
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        while not self._output:
            self._input = self._input or self._raw.read(_CHUNK)
            if not self._input:
                if self._fresh:
                    return 0
                raise EOFError("the compressed data ends in the middle")
            self._output = memoryview(self._frame.decompress(self._input))
            self._fresh, self._input = False, b""
            if self._frame.eof:
                self._input = self._frame.unused_data
                self._frame, self._fresh = zstandard.ZstdDecompressor().decompressobj(), True
        target = memoryview(cast(bytearray, buffer))
        size = min(len(target), len(self._output))
        target[:size] = self._output[:size]
        self._output = self._output[size:]
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


@contextmanager
def open_pool_file(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed as its name says (``.gz``, ``.zst``).

    Raises PoolError, naming the file, when it cannot be opened, is not what its name says, or ends in the middle.
    """
    try:
        with open(path, "rb") as raw:
            if path.suffix.lower() == ".gz":
                opened: BinaryIO = cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=raw), _CHUNK))
            elif path.suffix.lower() == ".zst":
                opened = cast(BinaryIO, io.BufferedReader(_ZstdFile(raw), _CHUNK))
            else:
                opened = raw
            yield opened
    except (EOFError, zlib.error, zstandard.ZstdError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PoolError(f"{path}: cannot be read ({reason}); fetch it again or take it out of the pool") from error


def read_lines(path: Path) -> Iterator[bytes]:
    """The file's lines as bytes, each with its line end, without the byte order mark of UTF-8.

    Raises PoolError for what ``open_pool_file`` says, for UTF-16 and UTF-32, and for a line of over 64 MiB.
    """
    with open_pool_file(path) as opened:
        line = opened.readline(MAX_LINE_BYTES)
        if line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise PoolError(f"{path}: is UTF-16 or UTF-32; convert it to UTF-8")
        line = line.removeprefix(b"\xef\xbb\xbf")
        while line:
            if len(line) >= MAX_LINE_BYTES:
                raise PoolError(f"{path}: has a line of over {MAX_LINE_BYTES >> 20} MiB; is the format right?")
            yield line
            line = opened.readline(MAX_LINE_BYTES)
