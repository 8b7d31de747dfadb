"""How images are stored: size, encoding, and the limits beyond which an image is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ResizeMode = Literal["no", "keep_ratio", "center_crop", "border", "keep_ratio_largest"]
EncodeFormat = Literal["jpg", "png", "webp"]
Animated = Literal["first_frame", "reject"]

#: The longest side that each format can hold (JPEG: 65,500 in libjpeg; PNG: what OpenCV reads back; WebP: 14 bits).
LONGEST_SIDE: dict[str, int] = {"jpg": 65_500, "png": 1 << 20, "webp": 16_383}


@dataclass(frozen=True)
class ImageSettings:
    """What a stored image is.

    The five resize modes, ``only_if_bigger`` and the meaning of ``quality`` are img2dataset's (its ``Resizer`` is the
    reference), the defaults are those DataComp downloaded its pool with: longest side 512, only if bigger, JPEG 95.

    size: pixels of the side that the mode fixes: the shortest (``keep_ratio``, ``center_crop``) or the longest
        (``border``, ``keep_ratio_largest``). Not used by ``no``.
    quality: 1 to 100 for jpg and webp; for png the compression level, 0 to 9.
    max_pixels: width times height above which an image is refused from its header, before any pixel is decoded.
        One pixel takes 4 bytes, up to 10 while a progressive JPEG is decoded.
    min_side: images with a shorter side are refused; 1 refuses none, rules can judge sizes later.
    animated: ``first_frame`` stores the first frame of an animation, ``reject`` refuses the file.
    """

    size: int = 512
    resize_mode: ResizeMode = "keep_ratio_largest"
    only_if_bigger: bool = True
    encode_format: EncodeFormat = "jpg"
    quality: int = 95
    max_pixels: int = 100_000_000
    min_side: int = 1
    animated: Animated = "first_frame"

    def __post_init__(self) -> None:
        for name, choices in (("resize_mode", ResizeMode), ("encode_format", EncodeFormat), ("animated", Animated)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(get_args(choices))}")
        low, high = (0, 9) if self.encode_format == "png" else (1, 100)
        limits = (
            ("size", 1, LONGEST_SIDE[self.encode_format]),
            ("quality", low, high),
            ("max_pixels", 1, 1 << 31),
            ("min_side", 1, 1 << 16),
        )
        for name, least, most in limits:
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; for encode_format {self.encode_format} give {least} to {most}"
                )
