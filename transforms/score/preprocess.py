"""A picture as a CLIP wants it: open_clip's own preprocessing for scoring, to the same numbers, made of fewer steps.

``open_clip.transform.image_transform_v2(cfg, is_train=False)`` is the reference. It resizes with Pillow, crops, and
makes floats of each picture; here a picture stays 8-bit until a whole batch is normalised, on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "longest", "squash"]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
#: A line of pixels, resized by its shortest side, would fill the memory; no picture that means anything is so long.
_MOST_PIXELS = 1 << 27


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is made ready. Sizes are pixels (height, width), taken from the model where None.

    mean, std: of each channel, of values from 0 to 1.
    resize_mode: ``shortest`` side to the size and the middle cut out, ``longest`` side to the size and filled up with
        ``fill_color``, or ``squash`` to the size, whatever the aspect.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation
    resize_mode: ResizeMode
    fill_color: int = 0
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(np.isfinite(values)):
                raise ValueError(f"preprocessing: {name} is {values}; give three numbers, one a channel")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"preprocessing: std is {self.std}; each must be above 0")
        for name, choices in (("interpolation", Interpolation), ("resize_mode", ResizeMode)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(
                    f"preprocessing: {name} is {getattr(self, name)!r}; give one of {', '.join(get_args(choices))}"
                )
        if not 0 <= self.fill_color <= 255:
            raise ValueError(f"preprocessing: fill_color is {self.fill_color}; give 0 to 255")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"preprocessing: size is {self.size}; give height and width in pixels")

    def of_size(self, height: int, width: int) -> Preprocessing:
        """The same, with the size set."""
        return replace(self, size=(height, width))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in a column's metadata."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def prepare(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Resize and cut a picture of mode RGB, which stays as it is: shape (height, width, 3).

        Raises ValueError for a picture so long and thin that the resized one would not fit into memory.
        """
        assert self.size is not None, "of_size has not been called"
        height, width = self.size
        image = self._resize(image, height, width)
        if self.resize_mode != "squash" and (image.height, image.width) != (height, width):
            image = _cut_or_fill(image, height, width, self.fill_color if self.resize_mode == "longest" else 0)
        return np.asarray(image)

    def normalise(self, batch: Any) -> Any:
        """A tensor of prepared pictures (batch, height, width, 3), uint8, as float32 (batch, 3, height, width)."""
        import torch

        mean = torch.tensor(self.mean, dtype=torch.float32, device=batch.device)[:, None, None]
        std = torch.tensor(self.std, dtype=torch.float32, device=batch.device)[:, None, None]
        floats = batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return floats.div_(255).sub_(mean).div_(std)

    def _resize(self, image: Image.Image, height: int, width: int) -> Image.Image:
        resample = _FILTERS[self.interpolation]
        if self.resize_mode == "squash":
            target = (width, height)
        elif self.resize_mode == "shortest" and height == width:
            short, long = sorted(image.size)
            other = int(height * long / short)  # torchvision's rounding
            target = (height, other) if image.width <= image.height else (other, height)
        else:
            ratios = (image.height / height, image.width / width)
            ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
            target = (max(1, round(image.width / ratio)), max(1, round(image.height / ratio)))  # open_clip's rounding
            if self.resize_mode == "shortest":
                resample = Image.Resampling.BICUBIC  # open_clip does not hand the filter on here
        if target[0] * target[1] > _MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels would be resized to {target[0]} x {target[1]}")
        return image if target == image.size else image.resize(target, resample)


def read_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """open_clip's ``preprocess_cfg``; raises ValueError where it names no mean and std, which open_clip would make up.

    Those two belong to the weights. The rest has open_clip's defaults, which its older configurations leave out.
    """
    if not config.get("mean") or not config.get("std"):
        raise ValueError("names no mean and std of its preprocessing")
    mean, std = (tuple(np.broadcast_to(config[key], 3).astype(float).tolist()) for key in ("mean", "std"))
    return Preprocessing(
        mean,
        std,
        config.get("interpolation") or "bicubic",
        config.get("resize_mode") or "shortest",
        int(config.get("fill_color") or 0),
    )


def _cut_or_fill(image: Image.Image, height: int, width: int, fill: int) -> Image.Image:
    """The middle of the picture, with a border where it is smaller; rounded as torchvision and open_clip do."""
    more_x, more_y = max(width - image.width, 0), max(height - image.height, 0)
    if more_x or more_y:
        filled = Image.new("RGB", (image.width + more_x, image.height + more_y), (fill, fill, fill))
        filled.paste(image, (more_x // 2, more_y // 2))
        image = filled
    left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
