from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from pairmill.transforms.image.colour import foreign_profile
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import StoredImage, store_image

LOSSLESS = ImageSettings(resize_mode="no", encode_format="png", quality=1)
PASS = ImageSettings(resize_mode="no")

# XYZ of the primaries adapted to D50 (columns of the profiles' matrices), gamma of the curve
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407), 2.2)
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), 2.2)
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410), 2.2)


def by_hand(colour: np.ndarray, profile: tuple) -> np.ndarray:
    """Colours through matrix and curve in floats: the definition of the conversion, clipped to sRGB."""
    linear = (colour / 255) ** (round(profile[3] * 256) / 256)
    xyz = linear @ np.array(profile[:3])
    rgb = (xyz @ np.linalg.inv(np.array(SRGB[:3]))).clip(0, 1)
    return 255 * np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("profile", [P3, ADOBE], ids=["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_foreign_profile_is_converted(profile: tuple, file_format: str, encode, pixels, profile_of) -> None:
    colours = np.random.default_rng(1).integers(30, 226, (16, 16, 3), dtype=np.uint8)
    stored = store_image(encode(Image.fromarray(colours), file_format, icc_profile=profile_of(*profile)), LOSSLESS)
    assert isinstance(stored, StoredImage)
    assert np.abs(pixels(stored.data) - by_hand(colours, profile)).max() <= 2
    assert np.abs(pixels(stored.data).astype(int) - colours).max() > 10
    assert "icc_profile" not in Image.open(io.BytesIO(stored.data)).info


def test_a_jpeg_with_a_foreign_profile_is_encoded_anew(draw, encode, pixels, profile_of) -> None:
    body = encode(draw(200, 150), icc_profile=profile_of(*ADOBE), quality=95)
    stored = store_image(body, PASS)
    assert isinstance(stored, StoredImage)
    assert stored.reencoded
    assert np.abs(pixels(stored.data) - by_hand(pixels(body), ADOBE)).mean() < 2
    smaller = store_image(body, ImageSettings(size=100))
    assert isinstance(smaller, StoredImage)
    halved = np.asarray(Image.fromarray(by_hand(pixels(body), ADOBE).astype(np.uint8)).reduce(2)).astype(float)
    assert np.abs(pixels(smaller.data) - halved).mean() < 3


def test_srgb_under_any_name_passes_through(draw, encode) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    stored = store_image(encode(draw(60, 40), icc_profile=srgb), PASS)
    assert isinstance(stored, StoredImage)
    assert not stored.reencoded
    assert b"ICC_PROFILE" not in stored.data


def test_a_broken_or_unfit_profile_is_ignored(draw, encode, pixels, profile_of) -> None:
    whole = profile_of(*P3)
    cmyk = whole[:16] + b"CMYK" + whole[20:]
    for profile in (b"nonsense", whole[:200], whole[:16] + b"XYZ " + whole[20:], cmyk, bytes(300)):
        body = encode(draw(60, 40), icc_profile=profile)
        stored = store_image(body, PASS)
        assert isinstance(stored, StoredImage)
        assert not stored.reencoded
        assert np.array_equal(pixels(stored.data), pixels(body))


def test_a_grey_profile_is_converted(encode, pixels, profile_of) -> None:
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    profile = profile_of((), (), (), 1.0, space=b"GRAY")
    stored = store_image(encode(grey, "PNG", icc_profile=profile), LOSSLESS)
    assert isinstance(stored, StoredImage)
    linear = np.arange(256) / 255
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(pixels(stored.data)[..., 0].ravel() - expected).max() <= 2
    assert foreign_profile(profile, "RGB") is None


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_alpha_goes_over_white_exactly(mode: str, encode, pixels) -> None:
    random = np.random.default_rng(5)
    colour, alpha = random.integers(0, 256, (256, 3)), np.arange(256)
    if mode == "RGBA":
        image = Image.fromarray(np.column_stack([colour, alpha]).reshape(16, 16, 4).astype(np.uint8))
        body = encode(image, "PNG")
    elif mode == "LA":
        colour = colour[:, :1].repeat(3, axis=1)
        values = np.stack([colour[:, 0], alpha], axis=1).reshape(16, 16, 2).astype(np.uint8)
        body = encode(Image.fromarray(values, "LA"), "PNG")
    else:
        image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
        image.putpalette(colour.astype(np.uint8).tobytes())
        body = encode(image, "PNG", transparency=bytes(range(256)))
    stored = store_image(body, LOSSLESS)
    assert isinstance(stored, StoredImage)
    # img2dataset's formula
    exact = np.rint(alpha[:, None] / 255 * colour + 255 - alpha[:, None])
    assert np.array_equal(pixels(stored.data).reshape(256, 3), exact)


def test_a_transparent_colour_turns_white(encode, pixels) -> None:
    image = Image.new("RGB", (4, 1), (10, 20, 30))
    image.putpixel((1, 0), (255, 0, 0))
    stored = store_image(encode(image, "PNG", transparency=(255, 0, 0)), LOSSLESS)
    assert isinstance(stored, StoredImage)
    assert pixels(stored.data).tolist() == [[[10, 20, 30], [255, 255, 255], [10, 20, 30], [10, 20, 30]]]


def test_sixteen_bits_become_the_high_byte(encode, pixels) -> None:
    values = (np.arange(256) * 257).astype(np.uint16).reshape(16, 16)
    for file_format in ("PNG", "TIFF"):
        stored = store_image(encode(Image.fromarray(values), file_format), LOSSLESS)
        assert isinstance(stored, StoredImage)
        assert pixels(stored.data)[..., 0].ravel().tolist() == list(range(256))


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(file_format: str, encode, pixels) -> None:
    ink = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    stored = store_image(encode(ink, file_format), LOSSLESS)
    assert isinstance(stored, StoredImage)
    assert np.abs(pixels(stored.data) - np.array([0, 255, 255])).max() <= 6
    assert stored.reencoded
