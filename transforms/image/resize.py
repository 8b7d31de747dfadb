"""img2dataset's resize modes: the same sizes and, by the same OpenCV calls, the same pixels.

Reference: ``img2dataset/resizer.py`` 1.47 with albumentations 1.4: area interpolation down, Lanczos up, sides rounded
half to even and at least 1, crops and borders centred with the odd pixel at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

import pairmill.transforms.image.codecs  # noqa: F401  (one thread an image)
from pairmill.transforms.image.settings import ImageSettings

_BY_SHORTEST = ("keep_ratio", "center_crop")


@dataclass(frozen=True)
class ResizePlan:
    """What happens to one image: scale to ``scaled`` (width, height), then cut or pad to ``stored``, white around."""

    scaled: tuple[int, int]
    stored: tuple[int, int]
    down: bool


def plan_resize(width: int, height: int, settings: ImageSettings) -> ResizePlan | None:
    """The plan for an upright image of this size; None if it is stored in its own size."""
    if settings.resize_mode == "no":
        return None
    side = min(width, height) if settings.resize_mode in _BY_SHORTEST else max(width, height)
    down = side > settings.size
    if settings.only_if_bigger and not down:
        return None
    scale = settings.size / side
    scaled = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = settings.resize_mode in ("center_crop", "border")
    stored = (settings.size, settings.size) if square else scaled
    return None if scaled == stored == (width, height) else ResizePlan(scaled, stored, down)


def resize(pixels: npt.NDArray[np.uint8], plan: ResizePlan) -> npt.NDArray[np.uint8]:
    """Pixels of shape (height, width, 3) by the plan; the channel order does not matter."""
    if plan.scaled != (pixels.shape[1], pixels.shape[0]):
        pixels = cv2.resize(pixels, plan.scaled, interpolation=cv2.INTER_AREA if plan.down else cv2.INTER_LANCZOS4)
    if plan.stored == plan.scaled:
        return pixels
    left, top = (abs(a - b) // 2 for a, b in zip(plan.stored, plan.scaled, strict=True))
    width, height = plan.stored
    if plan.scaled[0] > width or plan.scaled[1] > height:
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])
    right, bottom = width - plan.scaled[0] - left, height - plan.scaled[1] - top
    return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))
