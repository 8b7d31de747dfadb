"""The segments of a JPEG file: what it claims to be, and the same picture without what is not picture.

Written for the well-formed files that make up nearly all of the web; of any other file :func:`read_layout` says so
by None, and the file goes the long way: Pillow opens it, and it is encoded anew.
Segment and marker names: ITU-T T.81, table B.1. JFIF: ITU-T T.871. Adobe segment: Adobe technical note 5116.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
#: Baseline, extended and progressive Huffman coding: what every decoder reads.
_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
#: In entropy-coded data 0xFF is followed by 0x00 (a stuffed byte), a restart marker or more 0xFF (filling).
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: libjpeg's Huffman decoder looks ahead at most one 64-bit word.
_LOOKAHEAD = bytes(8)


@dataclass
class JpegLayout:
    """What the segments of one JPEG tell. ``kept`` are the slices of the file that make the picture, without EOI."""

    width: int = 0
    height: int = 0
    components: int = 0
    frame: str = ""
    scans: int = 0
    complete: bool = False  # the end marker is there
    interleaved: bool = False  # the first scan holds all components
    exif: bytes = b""  # payload of the first Exif segment, with its "Exif\0\0"
    kept: list[bytes] = field(default_factory=lambda: [b"\xff\xd8"])
    icc_chunks: dict[int, bytes] = field(default_factory=dict)
    has_jfif: bool = False

    def icc_profile(self) -> bytes:
        """The embedded profile, joined in the order of its chunks; empty if there is none."""
        return b"".join(self.icc_chunks[number] for number in sorted(self.icc_chunks))

    def stripped(self) -> bytes:
        """The picture alone: no Exif, XMP, IPTC, profile, comment, thumbnail or second picture. Same pixels."""
        return b"".join(self.kept) + b"\xff\xd9"

    def strict(self) -> bytes:
        """The bytes to decode such that missing data is an error, never grey filling.

        libjpeg fills up silently once it meets the end marker, also where a truncated file had one appended. Without
        that marker it asks for more data and Pillow raises. A file of several scans is read up to its end marker
        before the first row comes out, so there the marker must stay, and an early one goes unnoticed.
        """
        if self.scans == 1 and self.interleaved and self.frame != "progressive":
            return b"".join(self.kept) + _LOOKAHEAD
        return self.stripped() if self.complete else b"".join(self.kept)


def read_layout(body: bytes) -> JpegLayout | None:
    """Walk the segments of ``body``; None where anything is unusual: junk, rare coding, a cut header."""
    layout = JpegLayout()
    at, size = 2, len(body)
    while at + 4 <= size or body[at : at + 2] == b"\xff\xd9":
        if body[at] != 0xFF:
            return None
        marker = body[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == _EOI:
            layout.complete = True
            break
        end = at + 2 + int.from_bytes(body[at + 2 : at + 4], "big")
        if end < at + 4 or end > size or not _take(layout, marker, body[at:end]):
            return None
        if marker == _SOS:
            found = _NEXT_MARKER.search(body, end)
            at = found.start() if found else size
            layout.kept.append(body[end:at])
        else:
            at = end
    return layout if layout.scans and layout.frame else None


def _take(layout: JpegLayout, marker: int, segment: bytes) -> bool:
    """Note one segment and keep it if the pixels need it; False if the file is not one for this reader."""
    if _APP0 <= marker <= _APP15:
        _take_application(layout, marker, segment)
    elif marker == _SOS:
        if not layout.frame:
            return False
        layout.scans += 1
        layout.interleaved = layout.scans == 1 and segment[4:5] == bytes((layout.components,))
        layout.kept.append(segment)
    elif marker in _FRAMES:
        if layout.frame or len(segment) < 10 or segment[4] != 8:
            return False
        layout.frame = _FRAMES[marker]
        layout.height = int.from_bytes(segment[5:7], "big")
        layout.width = int.from_bytes(segment[7:9], "big")
        layout.components = segment[9]
        layout.kept.append(segment)
        return layout.height > 0 and layout.width > 0
    elif marker in (_DQT, _DHT, _DRI):
        layout.kept.append(segment)
    elif marker != _COM:
        return False
    return True


def _take_application(layout: JpegLayout, marker: int, segment: bytes) -> None:
    """Keep what tells the colour coding (JFIF without its thumbnail, Adobe); note Exif and profile; drop the rest."""
    payload = segment[4:]
    if marker == _APP0 and payload.startswith(b"JFIF\x00") and len(payload) >= 14:
        if not layout.has_jfif:
            layout.kept.append(b"\xff\xe0\x00\x10" + payload[:12] + b"\x00\x00")
        layout.has_jfif = True
    elif marker == _APP1 and payload.startswith(b"Exif\x00") and not layout.exif:
        layout.exif = payload
    elif marker == _APP2 and payload.startswith(b"ICC_PROFILE\x00") and len(payload) > 14:
        layout.icc_chunks.setdefault(payload[12], payload[14:])
    elif marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
        layout.kept.append(b"\xff\xee\x00\x0e" + payload[:12])
