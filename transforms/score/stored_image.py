"""Stored bytes to pixels: the pictures in a spool are clean 8-bit JPEG, PNG or WebP files of this program's making."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

import pairmill.transforms.image.codecs  # noqa: F401  (one thread an image, nothing on stderr)

_PLUGINS: tuple[tuple[bytes, Any], ...] = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)


def decode_stored(body: bytes) -> Image.Image:
    """The picture, loaded, mode RGB: the pixels that ``Image.open(...).convert("RGB")`` gives.

    Raises OSError, SyntaxError, ValueError or what else Pillow has for damaged bytes.
    """
    for start, plugin in _PLUGINS:
        if body.startswith(start):
            image: Image.Image = plugin(io.BytesIO(body))
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")
    raise ValueError("is no JPEG, PNG or WebP")
