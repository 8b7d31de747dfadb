"""Pillow's own memory as an array, without a copy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image


def pixel_view(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """The pixels of an image of mode RGB, shape (height, width, 4), the last a filler.

    Seen through Arrow, which saves a copy by way of Python. None for other modes (Pillow 12.3 crashes on the Arrow view
    of some grey images) and for an image of more than 16 MiB, which lies in several pieces.
    """
    if image.mode != "RGB":
        return None
    try:
        pixels: npt.NDArray[np.uint8] = pa.array(image).flatten().to_numpy(zero_copy_only=True)
    except ValueError:
        return None
    return pixels.reshape(image.height, image.width, 4)
