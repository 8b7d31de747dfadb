"""The size of a JPEG, PNG or WebP image from its header, without a codec and without reading the pixels."""

from __future__ import annotations

from collections.abc import Callable

#: Gives up to ``length`` bytes of the image from ``offset``; fewer at its end.
Reader = Callable[[int, int], bytes]

_READ_BYTES = 4096
_MAX_SEGMENTS = 4096  # real files have a few dozen; an image made of four-byte segments must not hold the reader up
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # not: Huffman tables, reserved, arithmetic coding
NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_PNG = b"\x89PNG\r\n\x1a\n"


def image_size(read: Reader) -> tuple[int, int] | None:
    """(width, height) in pixels as stored, before any EXIF orientation; None for what is not, or a damaged, image."""
    head = read(0, _READ_BYTES)
    if head.startswith(b"\xff\xd8"):
        size = _jpeg_size(head, read)
    elif head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) >= 24:
        size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        size = _webp_size(head)
    else:
        size = None
    return size if size and size[0] > 0 and size[1] > 0 else None


def _jpeg_size(head: bytes, read: Reader) -> tuple[int, int] | None:
    """Walk the segments to the start of frame, which lies behind any EXIF, ICC profile and thumbnail."""
    start = 0  # of `head` in the image
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        if offset + 10 > start + len(head):
            start, head = offset, read(offset, _READ_BYTES)
        segment = head[offset - start : offset - start + 9]
        if len(segment) < 4 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif marker in NO_LENGTH:
            offset += 2
        elif marker in START_OF_FRAME:
            if len(segment) < 9:
                return None
            return int.from_bytes(segment[7:9], "big"), int.from_bytes(segment[5:7], "big")
        else:
            length = int.from_bytes(segment[2:4], "big")
            if length < 2 or marker in (0xD9, 0xDA):  # the image data, or the end, before any frame
                return None
            offset += 2 + length
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    chunk = head[12:16]
    if chunk == b"VP8L" and len(head) >= 25 and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(head) < 30:
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if chunk == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None
