"""Telling pages and text from images by their first bytes: servers name types wrongly, in both directions."""

from __future__ import annotations

_HEAD = 512
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")


_KINDS = (
    ((b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<!--"), "HTML"),
    ((b"<",), "XML"),
    ((b"{", b"["), "JSON"),
)
_IMAGES = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"GIF8")


def text_kind(body: bytes) -> str | None:
    """``HTML``, ``XML``, ``JSON`` or ``text`` for bytes that are no image, ``SVG`` for a drawing, else None.

    Every raster format worth storing has control bytes in its first 512 bytes; text has none.
    """
    head = body[:_HEAD]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16 says so by its first two bytes
        return "text"
    if not head or head.startswith(_IMAGES) or any(byte in _CONTROL for byte in head) or not _is_text(head):
        return None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in start:
        return "SVG"
    return next((kind for starts, kind in _KINDS if start.startswith(starts)), "text")


def _is_text(head: bytes) -> bool:
    """Whether bytes without control bytes are UTF-8, or markup in another encoding."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The head may end inside a letter.
        return error.start >= _HEAD - 3 or head.lstrip()[:1] in (b"<", b"{", b"[")
    return True
