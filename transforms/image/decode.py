"""One full decode of fetched bytes: an upright 8-bit sRGB picture, or the reason why there is none.

Pillow's plugins are called directly. ``Image.open`` would try formats outside the accepted list, and checks sizes
against a limit that is one global of the process.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

import pairmill.transforms.image.codecs  # noqa: F401  (one thread an image, nothing on stderr)
from pairmill.transforms.image.colour import foreign_profile, to_srgb
from pairmill.transforms.image.jpeg import JpegLayout, read_layout
from pairmill.transforms.image.refusal import Refused
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.sniff import sniff

_PLUGINS: dict[str, Any] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
#: What undoes each Exif orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
#: A progressive JPEG of many empty scans takes hours to decode; real ones have about ten.
_SCANS_OF_LARGEST = 16


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    image: loaded, upright, 8-bit, opaque, mode RGB or L.
    to_srgb: what makes its colours sRGB; None if they are.
    stripped: the same pixels as JPEG without metadata; None where the file is no JPEG that could be stored as it is.
    """

    image: Image.Image
    source_format: str
    to_srgb: ImageCms.ImageCmsTransform | None = None
    stripped: bytes | None = None


def decode(body: bytes, settings: ImageSettings) -> Picture:
    """Decode all pixels of ``body`` (the first frame, page or picture of several); raises Refused."""
    if not body:
        raise Refused("empty_body", "no bytes")
    source_format = sniff(body)
    layout = read_layout(body) if source_format == "JPEG" else None
    try:
        return _regular_jpeg(layout, settings) if layout else _by_pillow(body, source_format, settings)
    except Refused:
        raise
    except Image.DecompressionBombError as error:
        raise Refused("too_many_pixels", str(error)) from error
    except Exception as error:  # Pillow's decoders raise nearly every class there is on hostile files
        raise Refused("undecodable", f"{source_format}: {type(error).__name__}: {error}") from error


def check_size(width: int, height: int, settings: ImageSettings, scans: int = 1) -> None:
    """Raises Refused for sizes beyond the limits; nothing has been decoded yet."""
    if width < 1 or height < 1:
        raise Refused("undecodable", f"{width} x {height} pixels")
    if width * height > settings.max_pixels:
        raise Refused("too_many_pixels", f"{width} x {height} pixels; at most {settings.max_pixels}")
    if width * height * scans > settings.max_pixels * _SCANS_OF_LARGEST:
        raise Refused("too_many_pixels", f"{scans} scans of {width} x {height} pixels")
    if min(width, height) < settings.min_side:
        raise Refused("too_small", f"{width} x {height} pixels; at least {settings.min_side} on each side")


def _regular_jpeg(layout: JpegLayout, settings: ImageSettings) -> Picture:
    check_size(layout.width, layout.height, settings, layout.scans)
    image: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(layout.strict()))
    image.load()
    profile = layout.icc_profile()
    orientation = _exif_orientation(layout.exif)
    upright = orientation not in _UPRIGHT
    if upright and image.mode in ("L", "RGB") and foreign_profile(profile, image.mode) is None:
        return Picture(image, "JPEG", stripped=layout.stripped())
    return _picture(image, "JPEG", profile, orientation)


def _by_pillow(body: bytes, source_format: str, settings: ImageSettings) -> Picture:
    if source_format in ("AVIF", "WEBP") and not features.check(source_format.lower()):
        raise Refused("unsupported_format", f"{source_format}: this Pillow was built without it")
    image: Image.Image = _PLUGINS[source_format](io.BytesIO(body))
    scans = body.count(b"\xff\xda") if source_format == "JPEG" else 1
    check_size(*image.size, settings, scans)
    if source_format == "TIFF":
        _refuse_preview(image)
    elif settings.animated == "reject" and getattr(image, "is_animated", False):
        raise Refused("animated", source_format)
    image.load()
    check_size(*image.size, settings)
    orientation = 1 if source_format == "TIFF" else _orientation(image)  # Pillow turns a TIFF upright itself
    profile = image.info.get("icc_profile") or b""
    return _picture(image, source_format, profile, orientation)


def _picture(image: Image.Image, source_format: str, profile: bytes, orientation: int) -> Picture:
    opaque, transform = to_srgb(image, profile)
    if orientation in _UPRIGHT:
        opaque = opaque.transpose(_UPRIGHT[orientation])
    return Picture(opaque, source_format, transform)


def _refuse_preview(image: Any) -> None:
    """Camera raw files (DNG, NEF, ARW) are TIFF files whose first page is a thumbnail, and says so."""
    if int(image.tag_v2.get(254, 0)) & 1:
        raise Refused("unsupported_format", "TIFF whose first page is a reduced preview (camera raw)")


def _orientation(image: Image.Image) -> int:
    """The Exif orientation of an opened PNG, WebP, AVIF or JPEG. XMP is left out, as browsers do."""
    for name in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken metadata harms no picture
        return 1


def _exif_orientation(payload: bytes) -> int:
    if not payload:
        return 1
    exif = Image.Exif()
    try:
        exif.load(payload)
        return exif.get(_ORIENTATION, 1)
    except Exception:  # broken metadata harms no picture
        return 1
