"""Settings of the image libraries that hold for the whole process; made when this package is imported.

Each worker decodes one image a thread, and the outcome of each image is a column: so no threads inside the codecs,
and no words on stderr (a warning cannot be caught per call, `warnings.catch_warnings` is not safe in threads).
"""

from __future__ import annotations

import ctypes
import logging
import warnings
from pathlib import Path

import cv2
import PIL
from PIL import AvifImagePlugin


def settle_codecs() -> None:
    """One thread per image in OpenCV and libavif; Pillow and its libtiff silent. Safe to call again."""
    cv2.setNumThreads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    warnings.filterwarnings("ignore", module=r"PIL\.")
    pillow_log = logging.getLogger("PIL")
    if not pillow_log.handlers:  # without any, Python prints errors itself
        pillow_log.addHandler(logging.NullHandler())
    # libtiff prints read errors itself. Pillow's wheels bring their own copy, so nobody else's handler is touched.
    for library in (Path(PIL.__file__).parents[1] / "pillow.libs").glob("libtiff*"):
        try:
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
        except (OSError, AttributeError):
            continue


settle_codecs()
