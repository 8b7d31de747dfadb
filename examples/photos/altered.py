"""Photographs in unusual make, damaged or copied: bytes as the web has them."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
from PIL import Image

from pairmill.pipeline.demo.altered import ORIENTATION_TAG, as_stored

_SCALES = (0.85, 0.75, 0.65)
_QUALITIES = (70, 60, 50)
#: More than the recipe's ``max_bytes`` of 4 MiB.
HUGE_BYTES = 5 << 20
#: More pixels than a picture may have by default (100 million); a few KB as a file.
_BOMB_SIDE = 16_384


def _encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def turned(picture: Image.Image, number: int) -> bytes:
    """A JPEG stored turned or mirrored, with the EXIF orientation (2 to 8) that says so."""
    orientation = 2 + number % 7
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return _encoded(as_stored(picture, orientation), "JPEG", quality=92, exif=exif.tobytes())


def cmyk(picture: Image.Image) -> bytes:
    """A JPEG of four inks."""
    return _encoded(picture.convert("CMYK"), "JPEG", quality=92)


def with_alpha(picture: Image.Image) -> bytes:
    """A PNG that fades out towards one corner."""
    ramp = Image.fromarray(np.tile(np.linspace(255, 90, picture.width).astype(np.uint8), (picture.height, 1)))
    faded = picture.copy()
    faded.putalpha(ramp)
    return _encoded(faded, "PNG")


def sixteen_bit(picture: Image.Image) -> bytes:
    """A PNG with 16 bits a channel."""
    pixels = np.asarray(picture, np.uint16)[..., ::-1] * 257
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def animated(picture: Image.Image) -> bytes:
    """A GIF whose first frame is the picture."""
    frames = [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), Image.new("RGB", picture.size)]
    return _encoded(picture, "GIF", save_all=True, append_images=frames, duration=100)


def resized(picture: Image.Image, number: int) -> Image.Image:
    """A smaller copy, at least 200 pixels on its shorter side for a photograph of 400 x 350 or more."""
    scale = _SCALES[number % len(_SCALES)]
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def jpeg_copy(picture: Image.Image, number: int) -> bytes:
    """A JPEG of low quality, without a profile."""
    return _encoded(picture, "JPEG", quality=_QUALITIES[number % len(_QUALITIES)])


def recoloured(picture: Image.Image) -> Image.Image:
    """The same light and shade in other colours: the two colour planes are exchanged."""
    light, blueish, reddish = picture.convert("YCbCr").split()
    return Image.merge("YCbCr", (light, reddish, blueish)).convert("RGB")


def strip(picture: Image.Image, number: int) -> Image.Image:
    """A band four times as wide as high, at least 200 high."""
    band = picture.crop((0, 0, picture.width, picture.width // 4))
    return band.resize((880 + 4 * number, 220 + number), Image.Resampling.LANCZOS)


def truncated(body: bytes, number: int) -> bytes:
    """The first three to seven tenths of a file."""
    return body[: len(body) * (3 + number % 5) // 10]


def huge(body: bytes) -> bytes:
    """A sound JPEG with 5 MiB behind its end."""
    return body + bytes(HUGE_BYTES)


def bomb() -> bytes:
    """A PNG of 16,384 x 16,384 black pixels, whose size the header tells."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    side = _BOMB_SIDE.to_bytes(4, "big")
    rows = zlib.compress(bytes((_BOMB_SIDE // 8 + 1) * _BOMB_SIDE), 9)
    header = side + side + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def heic() -> bytes:
    """The beginning of a HEIC file, by its brands."""
    return b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(256)
