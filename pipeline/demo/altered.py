"""Copies of a picture that were cut, shrunk, mirrored, stamped or turned."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

ORIENTATION_TAG = 0x0112
_SCALES = (0.9, 0.85, 0.8)
_CUT = 0.12
_BANNER = 6  # it takes one part in so many of the height
_OPACITY = 0.85
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def resized_size(width: int, height: int, number: int) -> tuple[int, int]:
    """Width and height of a smaller copy; ``number`` chooses from 0.9, 0.85 and 0.8 times."""
    scale = _SCALES[number % len(_SCALES)]
    return round(width * scale), round(height * scale)


def resized(pixels: Pixels, number: int) -> Pixels:
    """The smaller copy."""
    size = resized_size(pixels.shape[1], pixels.shape[0], number)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def cropped_box(width: int, height: int, number: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is left when an eighth is cut from one side; ``number`` chooses which.

    The ratio of the sides changes by more than a tenth, which no near duplicate's does.
    """
    across, down = round(width * _CUT), round(height * _CUT)
    cuts = ((across, 0, 0, 0), (0, 0, across, 0), (0, down, 0, 0), (0, 0, 0, down))
    left, top, right, bottom = cuts[number % 4]
    return left, top, width - right, height - bottom


def cropped(pixels: Pixels, number: int) -> Pixels:
    """The picture without a strip at one side."""
    left, top, right, bottom = cropped_box(pixels.shape[1], pixels.shape[0], number)
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def watermarked(pixels: Pixels, number: int) -> Pixels:
    """The picture with a banner near its lower edge, dark on light and light on dark."""
    stamped = pixels.copy()
    height, width = pixels.shape[:2]
    tall = height // _BANNER
    part = stamped[height - tall - tall // 2 : height - tall // 2]
    dark = float(part.mean()) > 128
    ground, ink = (0, 255) if dark else (255, 0)
    part[:] = cv2.addWeighted(part, 1 - _OPACITY, np.full_like(part, ground), _OPACITY, 0)
    at, size = (width // 16, tall * 2 // 3), tall / 48
    cv2.putText(
        part, f"pairmill photos {number % 1000}", at, cv2.FONT_HERSHEY_SIMPLEX, size, (ink,) * 3, 1, cv2.LINE_AA
    )
    return stamped


def as_stored(picture: Image.Image, orientation: int) -> Image.Image:
    """The pixels that show ``picture`` once the EXIF ``orientation`` (2..8) is applied to them."""
    return picture.transpose(_UNDO[orientation])
