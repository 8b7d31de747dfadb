"""Small pictures for a page: decoded within limits, turned upright, on white, as JPEG in a data URL."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

#: Longest side in pixels: sharp on a screen of two pixels to a point at the size that a sheet shows.
EDGE = 224
QUALITY = 72
MAX_PIXELS = 64_000_000
#: Those that datasets hold; Pillow's other readers are no business of a page over anyone's bytes.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class NoPicture(Exception):
    """Why there is no picture, in a few words."""


def thumbnail(image: bytes) -> str:
    """The picture as a ``data:`` URL, its longest side EDGE pixels or fewer.

    Raises NoPicture for bytes that do not decode, and for more than MAX_PIXELS.
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd tags; what is too large is asked for here
        try:
            with Image.open(io.BytesIO(image), formats=_FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise NoPicture("too large to show")
                opened.draft("RGB", (2 * EDGE, 2 * EDGE))  # a JPEG is decoded at a fraction of its size
                picture = _on_white(ImageOps.exif_transpose(opened))
                picture.thumbnail((EDGE, EDGE), Image.Resampling.BICUBIC, reducing_gap=2.0)
        except NoPicture:
            raise
        except Exception as error:  # Pillow's readers raise nearly everything on damaged bytes
            raise NoPicture("does not decode") from error
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _on_white(picture: Image) -> Image:
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")
