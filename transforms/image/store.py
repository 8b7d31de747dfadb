"""Fetched bytes in, stored bytes and everything known of them out: the one function that the fetch calls per image."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, WebPImagePlugin

from pairmill.transforms.image.decode import Picture, decode
from pairmill.transforms.image.likeness import phash, thumbnail
from pairmill.transforms.image.pixels import pixel_view
from pairmill.transforms.image.refusal import ImageFailure, Refused
from pairmill.transforms.image.resize import ResizePlan, plan_resize, resize
from pairmill.transforms.image.settings import LONGEST_SIDE, ImageSettings

__all__ = ["ImageFailure", "ImageSettings", "StoredImage", "store_image"]

_QUALITY_FLAG = {
    "jpg": cv2.IMWRITE_JPEG_QUALITY,
    "png": cv2.IMWRITE_PNG_COMPRESSION,
    "webp": cv2.IMWRITE_WEBP_QUALITY,
}


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image ready for the spool. Hash, thumbnail and size are of the pixels that ``data`` decodes to.

    data: the bytes to store: ``encode_format``, 8-bit, RGB (a grey JPEG that passes through stays grey), upright, sRGB,
        without metadata.
    sha256: of the fetched bytes, hex; fetched_bytes: their number.
    source_format: Pillow's name of the fetched format.
    original_width, original_height: upright, before any resize.
    reencoded: False where ``data`` is the fetched JPEG without its metadata.
    phash: 64 bits, see :func:`~pairmill.transforms.image.likeness.phash`.
    thumbnail: 8 x 8 RGB, 192 bytes, row-major.
    """

    data: bytes
    sha256: str
    fetched_bytes: int
    source_format: str
    original_width: int
    original_height: int
    width: int
    height: int
    reencoded: bool
    phash: int
    thumbnail: bytes

    def columns(self) -> dict[str, str | int | bool | bytes]:
        """The image columns of this pair, named and ordered as ``sharding.pair.IMAGE_COLUMNS``."""
        return {
            "sha256": self.sha256,
            "fetched_bytes": self.fetched_bytes,
            "source_format": self.source_format,
            "original_width": self.original_width,
            "original_height": self.original_height,
            "width": self.width,
            "height": self.height,
            "stored_bytes": len(self.data),
            "reencoded": self.reencoded,
            "phash": self.phash,
            "thumbnail": self.thumbnail,
        }


def store_image(body: bytes, settings: ImageSettings) -> StoredImage | ImageFailure:
    """Decode ``body`` once and fully, and make what is stored of it.

    A JPEG that needs neither resize nor conversion passes through, its pixels untouched and its metadata cut out; all
    else is encoded anew. Bad data is an ImageFailure, never an exception; same bytes and settings, same result.
    """
    try:
        picture = decode(body, settings)
        width, height = picture.image.size
        plan = plan_resize(width, height, settings)
        _check_target(plan.stored if plan else (width, height), plan, settings)
    except Refused as refused:
        return refused.failure
    if plan is None and picture.stripped is not None and settings.encode_format == "jpg":
        data, stored = picture.stripped, picture.image
    else:
        data, stored = _encode(picture, plan, settings)
    return StoredImage(
        data=data,
        sha256=hashlib.sha256(body).hexdigest(),
        fetched_bytes=len(body),
        source_format=picture.source_format,
        original_width=width,
        original_height=height,
        width=stored.width,
        height=stored.height,
        reencoded=data is not picture.stripped,
        phash=phash(stored),
        thumbnail=thumbnail(stored),
    )


def _check_target(stored: tuple[int, int], plan: ResizePlan | None, settings: ImageSettings) -> None:
    """Refuse what the stored format cannot hold, and enlargements of very long images that would fill the memory."""
    width, height = stored
    longest = LONGEST_SIDE[settings.encode_format]
    largest = max(plan.scaled[0] * plan.scaled[1], width * height) if plan else 0
    if max(stored) > longest or largest > settings.max_pixels:
        raise Refused("too_many_pixels", f"would be stored as {width} x {height} {settings.encode_format}")


def _encode(picture: Picture, plan: ResizePlan | None, settings: ImageSettings) -> tuple[bytes, Image.Image]:
    """The encoded bytes, and the image that they decode to."""
    pixels = _packed(picture.image)
    if plan:
        pixels = resize(pixels, plan)
    if picture.to_srgb:
        pixels = _packed(picture.to_srgb.apply(_unpacked(pixels)))
    flags = [_QUALITY_FLAG[settings.encode_format], settings.quality]
    data = cv2.imencode(f".{settings.encode_format}", pixels, flags)[1].tobytes()
    return data, _decoded(data, pixels, settings.encode_format)


def _packed(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Pixels of shape (height, width, 3), blue first: OpenCV's encoders take no other order."""
    image = image.convert("RGB") if image.mode != "RGB" else image
    padded = pixel_view(image)
    if padded is None:
        packed = np.frombuffer(image.tobytes("raw", "BGR"), np.uint8)
        return packed.reshape(image.height, image.width, 3)
    return cv2.cvtColor(padded, cv2.COLOR_RGBA2BGR)


def _unpacked(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.frombuffer("RGB", (pixels.shape[1], pixels.shape[0]), pixels.tobytes(), "raw", "BGR", 0, 1)


def _decoded(data: bytes, pixels: npt.NDArray[np.uint8], encode_format: str) -> Image.Image:
    if encode_format == "png":  # lossless
        return _unpacked(pixels)
    plugin = JpegImagePlugin.JpegImageFile if encode_format == "jpg" else WebPImagePlugin.WebPImageFile
    image: Image.Image = plugin(io.BytesIO(data))
    image.load()
    return image
