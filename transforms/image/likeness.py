"""What is compared between images: a perceptual hash that proposes and a thumbnail that confirms."""

from __future__ import annotations

import numpy as np
import scipy.fftpack
from PIL import Image

from pairmill.transforms.image.lanczos import to_32x32

_HASH_SIDE = 8
_THUMBNAIL_SIDE = 8


def phash(image: Image.Image) -> int:
    """``imagehash.phash`` of an image (mode RGB or L) as a 64-bit number: the hash's first bit is the highest.

    ``f"{phash(image):016x}" == str(imagehash.phash(image))``. The calls of scipy are imagehash's own, since a bit
    where a coefficient equals the median hangs on the last place of a float.
    """
    small = np.asarray(to_32x32(image.convert("L")))
    waves = scipy.fftpack.dct(scipy.fftpack.dct(small, axis=0), axis=1)
    low = waves[:_HASH_SIDE, :_HASH_SIDE].ravel()
    ranked = np.sort(low)
    median = (ranked[31] + ranked[32]) / 2
    return int.from_bytes(np.packbits(low > median).tobytes(), "big")


def thumbnail(image: Image.Image) -> bytes:
    """8 x 8 RGB area averages of an image (mode RGB or L), 192 bytes, row-major: Pillow's box filter.

    A pixel counts for the cell in which its centre lies; in images below 8 pixels a cell shows the pixel under it.
    Shrinking by whole blocks first would halve the 0.2 ms, and cost up to 4 of the 8 levels by which copies may differ.
    """
    side = (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    small = image.resize(side, Image.Resampling.BOX)
    return small.convert("RGB").tobytes()
