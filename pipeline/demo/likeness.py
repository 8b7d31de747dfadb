"""How alike two pictures are, so that a pool holds near copies only where they are planted.

A near duplicate has perceptual hashes at most 2 bits apart and 8x8 thumbnails at most 8 grey levels apart. Pictures
meant to differ stay well outside of that, planted copies well inside, whatever way of resizing a pipeline has.
"""

from __future__ import annotations

import io

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

STORED_SIDE = 512
#: Mean difference of thumbnails, in grey levels, above which pictures count as different here (a duplicate has <= 8).
DIFFERENT_ABOVE = 12.0
#: The same for copies: a copy stays below it.
SAME_BELOW = 4.0
#: And the greatest distance of the hashes of a copy, in bits (a duplicate has <= 2).
SAME_BITS = 0
_FILTERS = (Image.Resampling.BOX, Image.Resampling.LANCZOS)
_SAMPLES = (None, 2.0, 4.0)

Thumbnail = npt.NDArray[np.float32]


def stored(picture: Image.Image, way: Image.Resampling = Image.Resampling.BOX) -> Image.Image:
    """The picture as a pipeline would store it: RGB, its longer side at most 512 pixels."""
    picture = picture.convert("RGB")
    picture.thumbnail((STORED_SIDE, STORED_SIDE), way)
    return picture


def thumbnail(picture: Image.Image, samples: float | None = None) -> Thumbnail:
    """8 x 8 RGB means, as 192 numbers 0..255; ``samples`` a side and cell where they are taken in two steps."""
    small = picture.convert("RGB").resize((8, 8), Image.Resampling.BOX, reducing_gap=samples)
    return np.asarray(small, np.float32).ravel()


def thumbnail_distance(first: Image.Image, second: Image.Image) -> float:
    """Mean difference of the thumbnails of two pictures, in grey levels; the largest over ways to make them.

    In two steps, regular patterns shift the means of cells: copies of a striped wall may come out 8 levels apart.
    """
    pairs = ((thumbnail(first, samples), thumbnail(second, samples)) for samples in _SAMPLES)
    return max(float(np.abs(one - other).mean()) for one, other in pairs)


def hash_distance(first: Image.Image, second: Image.Image) -> int:
    """Bits between the perceptual hashes of two pictures as they would be stored; the largest over ways to resize."""
    return max(int(imagehash.phash(stored(first, way)) - imagehash.phash(stored(second, way))) for way in _FILTERS)


def is_safe_copy(original: bytes, copy: bytes) -> bool:
    """Whether a pipeline must see one file as a near duplicate of the other, with room to spare."""
    with Image.open(io.BytesIO(original)) as first, Image.open(io.BytesIO(copy)) as second:
        aspect = (first.width / first.height) / (second.width / second.height)
        alike = thumbnail_distance(first, second) < SAME_BELOW and abs(aspect - 1) < 0.01
        return alike and hash_distance(first, second) <= SAME_BITS
