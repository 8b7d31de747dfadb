"""Any Pillow mode and any embedded profile to 8-bit sRGB, transparency over white."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from pairmill.transforms.image.refusal import Refused

#: A profile larger than this is not read (CMYK press profiles have 0.5 to 3 MB).
_MAX_PROFILE_BYTES = 8 << 20
#: A profile that moves no probe colour by more than this many of 255 levels is sRGB under another name.
_SAME_AS_SRGB = 2
_GREY_MODES = ("1", "L", "LA", "La")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_COLOUR_MODES = ("P", "RGB", "RGBX", "YCbCr")
_PROFILE_SPACE = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, ImageCms.ImageCmsTransform | None]:
    """A loaded image as it should look on white paper, mode ``RGB``, or ``L`` where the source is grey and opaque.

    With it comes what is still to be applied: the transform of an opaque RGB image is left to the caller, because it
    costs 15 ns a pixel, and after a resize there are fewer. The image is 8-bit and has no profile other than that.

    A foreign profile is applied (relative colorimetric, black point compensated, as browsers do); one that is broken or
    not for this kind of image is ignored. CMYK without a profile is converted by Pillow's plain formula.
    Raises Refused for samples without a stated range (32-bit integers, floats) and for LAB and HSV.
    """
    if image.mode.startswith("I;16"):
        image = _high_bytes(image)
    alpha = None
    if image.mode in _ALPHA_MODES or (image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info):
        alpha = image.convert("RGBA").getchannel("A")
    if image.mode in _GREY_MODES:
        colour = image.convert("L")
    elif image.mode in _COLOUR_MODES or alpha is not None:
        # By way of RGBA, because Pillow turns a transparent palette entry into another colour in RGB.
        colour = image.convert("RGB") if alpha is None else image.convert("RGBA").convert("RGB")
    elif image.mode == "CMYK":
        colour = image
    else:
        raise Refused("unsupported_format", f"samples of Pillow mode {image.mode}")
    transform = foreign_profile(profile, colour.mode)
    if transform is not None and colour.mode == "RGB" and alpha is None:
        return colour, transform
    if transform is not None:
        colour = transform.apply(colour)
    elif colour.mode == "CMYK":
        colour = colour.convert("RGB")
    if alpha is None:
        return colour, None
    paper = Image.new("RGB", colour.size, "white")
    paper.paste(colour.convert("RGB"), mask=alpha)
    return paper, None


def _high_bytes(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 by the high byte, as Pillow and libpng do for 16-bit colour; Pillow's ``convert`` would clip."""
    tags = getattr(image, "tag_v2", {})
    bits = int(tags.get(258, (16,))[0])
    grey = (np.asarray(image) >> max(bits - 8, 0)).astype(np.uint8)
    if tags.get(262) == 0:  # white is zero
        grey = np.uint8(255) - grey
    return Image.fromarray(grey)


def foreign_profile(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from ``profile`` to sRGB; None if there is nothing to do: no, unfit or broken profile, or sRGB."""
    if not profile or len(profile) > _MAX_PROFILE_BYTES:
        return None
    return _transform(profile, mode)


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    if profile[16:20] != _PROFILE_SPACE[mode].encode():
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        if mode == "L":  # lcms would interpolate grey between 33 points
            flags |= ImageCms.Flags.NOOPTIMIZE
        transform = ImageCms.ImageCmsTransform(
            source,
            _SRGB,
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=flags,
        )
        probe = _probe(mode)
        moved = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    except Exception:  # lcms is handed whatever a web page embeds
        return None
    return None if mode != "CMYK" and np.abs(moved).max() <= _SAME_AS_SRGB else transform


def _probe(mode: str) -> Image.Image:
    """Colours that tell one profile from another: all greys, or a 9 x 9 x 9 grid."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    return Image.fromarray(np.ascontiguousarray(grid)).convert(mode)
