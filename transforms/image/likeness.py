"""What is compared between images: a perceptual hash that proposes and a thumbnail that confirms."""

from __future__ import annotations

import numpy as np
import scipy.fftpack
from pairmill.transforms.image.lanczos import to_32x32
from PIL import Image

_HASH_SIDE = 8
_THUMBNAIL_SIDE = 8
#: Pixels are first averaged in whole blocks, such that a cell keeps at least this many samples a side: half the time.
_SAMPLES_PER_CELL = 16.0


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
    """8 x 8 RGB area averages of an image (mode RGB or L), 192 bytes, row-major."""
    side = (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    small = image.resize(side, Image.Resampling.BOX, reducing_gap=_SAMPLES_PER_CELL)
    return small.convert("RGB").tobytes()
