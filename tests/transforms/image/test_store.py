from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image, features

from pairmill.sharding.pair import IMAGE_COLUMNS
from pairmill.transforms.image.likeness import thumbnail
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import ImageFailure, StoredImage, store_image

TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def test_columns_are_the_agreed_ones_and_of_the_stored_pixels(draw, encode) -> None:
    body = encode(draw(640, 480), quality=92, comment=b"one of many")
    stored = store_image(body, ImageSettings())
    assert isinstance(stored, StoredImage)
    columns = stored.columns()
    assert list(columns) == list(IMAGE_COLUMNS)
    shown = Image.open(io.BytesIO(stored.data))
    assert shown.format == "JPEG"
    assert columns == {
        "sha256": hashlib.sha256(body).hexdigest(),
        "fetched_bytes": len(body),
        "source_format": "JPEG",
        "original_width": 640,
        "original_height": 480,
        "width": 512,
        "height": 384,
        "stored_bytes": len(stored.data),
        "reencoded": True,
        "phash": int(str(imagehash.phash(shown)), 16),
        "thumbnail": thumbnail(shown.convert("RGB")),
    }


FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {}),
    "PNG interlaced palette": ("PNG", {"mode": "P"}),
    "PNG 1 bit": ("PNG", {"mode": "1"}),
    "WEBP": ("WEBP", {"quality": 95}),
    "WEBP lossless": ("WEBP", {"lossless": True}),
    "GIF": ("GIF", {}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "TIFF LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "TIFF JPEG": ("TIFF", {"compression": "jpeg"}),
    "AVIF": ("AVIF", {"quality": 90}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_encoded_anew(name: str, draw, encode, pixels) -> None:
    file_format, options = FORMATS[name]
    if file_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    options = dict(options)
    image = draw(90, 60).convert(options.pop("mode", "RGB"))
    body = encode(image, file_format, **options)
    stored = store_image(body, ImageSettings(encode_format="png", quality=1))
    assert isinstance(stored, StoredImage)
    assert (stored.source_format, stored.reencoded) == (file_format, True)
    assert np.array_equal(pixels(stored.data), pixels(body))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (2100, 2100), (4300, 1000)])
def test_pixels_reach_the_encoder_whole_at_every_size(size: tuple[int, int], encode, pixels) -> None:
    """Pillow keeps images of more than 16 MiB in several blocks."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.putpixel((size[0] - 1, size[1] - 1), (255, 0, 9))
    stored = store_image(encode(image, "BMP"), ImageSettings(resize_mode="no", encode_format="png", quality=0))
    assert isinstance(stored, StoredImage)
    assert np.array_equal(pixels(stored.data), np.asarray(image))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_are_applied(orientation: int, file_format: str, draw, encode, pixels) -> None:
    if file_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    upright = draw(96, 64, seed=2)
    seen = upright.transpose(TRANSPOSED[orientation]) if orientation in TRANSPOSED else upright
    stored = store_image(encode(seen, file_format, quality=95, exif=exif(orientation)), ImageSettings())
    assert isinstance(stored, StoredImage)
    assert (stored.original_width, stored.original_height, stored.width, stored.height) == (96, 64, 96, 64)
    assert np.abs(pixels(stored.data).astype(int) - np.asarray(upright)).mean() < 4
    assert stored.reencoded is (file_format != "JPEG" or orientation != 1)
    assert Image.open(io.BytesIO(stored.data)).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("bad", [0, 9, 255])
def test_an_orientation_that_does_not_exist_is_ignored(bad: int, draw, encode) -> None:
    stored = store_image(encode(draw(96, 64), exif=exif(bad)), ImageSettings())
    assert isinstance(stored, StoredImage)
    assert not stored.reencoded


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("block", [b"", b"MM\x00*\xff\xff\xff\xff", b"II*\x00\x08\x00\x00\x00\xff\xff\x01"])
def test_broken_exif_harms_no_picture(block: bytes, draw, encode) -> None:
    stored = store_image(encode(draw(96, 64), exif=b"Exif\x00\x00" + block), ImageSettings())
    assert isinstance(stored, StoredImage)
    assert not stored.reencoded


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_stored_or_it_is_refused(file_format: str, encode, pixels) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    body = encode(frames[0], file_format, save_all=True, append_images=frames[1:], duration=50, lossless=True)
    stored = store_image(body, ImageSettings(encode_format="png", quality=1))
    assert isinstance(stored, StoredImage)
    assert pixels(stored.data)[15, 20].tolist() == [255, 0, 0]
    refused = store_image(body, ImageSettings(animated="reject"))
    assert refused == ImageFailure("animated", file_format)
    assert isinstance(store_image(encode(frames[0], file_format), ImageSettings(animated="reject")), StoredImage)


def test_of_several_pictures_or_pages_the_first_is_stored(encode, pixels, tmp_path) -> None:
    first, second = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (80, 60), "blue")
    mpo = store_image(encode(first, "MPO", save_all=True, append_images=[second]), ImageSettings())
    assert isinstance(mpo, StoredImage)
    assert (mpo.source_format, mpo.reencoded, mpo.width) == ("JPEG", False, 40)
    assert Image.open(io.BytesIO(mpo.data)).format == "JPEG"
    file = tmp_path / "pages.tif"
    Image.new("RGB", (40, 30), "red").save(file, save_all=True, append_images=[Image.new("RGB", (80, 60), "blue")])
    tiff = store_image(file.read_bytes(), ImageSettings(animated="reject"))
    assert isinstance(tiff, StoredImage)
    assert pixels(tiff.data)[15, 20, 0] > 240


def test_samples_without_a_stated_range_are_refused(encode) -> None:
    for mode in ("I", "F"):
        refused = store_image(encode(Image.new(mode, (9, 9)), "TIFF"), ImageSettings())
        assert refused == ImageFailure("unsupported_format", f"samples of Pillow mode {mode}")


def test_a_raw_files_preview_is_no_picture(encode) -> None:
    refused = store_image(encode(Image.new("RGB", (160, 120)), "TIFF", tiffinfo={254: 1}), ImageSettings())
    assert isinstance(refused, ImageFailure)
    assert refused.reason == "unsupported_format"


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_a_cut_file_is_refused_or_whole(file_format: str, draw, encode, pixels) -> None:
    if file_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    lossless = ImageSettings(encode_format="png", quality=1)
    body = encode(draw(64, 48), file_format)
    whole, refused = pixels(body), 0
    for cut in [*range(0, len(body), max(1, len(body) // 60)), *range(len(body) - 16, len(body))]:
        outcome = store_image(body[:cut], lossless)
        if isinstance(outcome, ImageFailure):
            refused += 1
            assert outcome.reason in ("undecodable", "empty_body", "not_an_image")
        else:
            assert np.array_equal(pixels(outcome.data), whole), cut
    assert refused > 50


def test_sizes_are_judged_by_the_header(draw, encode) -> None:
    for file_format in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        body = encode(draw(120, 90), file_format)
        bomb = store_image(body, ImageSettings(max_pixels=120 * 90 - 1))
        assert bomb == ImageFailure("too_many_pixels", "120 x 90 pixels; at most 10799")
        small = store_image(body, ImageSettings(min_side=91))
        assert small == ImageFailure("too_small", "120 x 90 pixels; at least 91 on each side")
        assert isinstance(store_image(body, ImageSettings(min_side=90, max_pixels=120 * 90)), StoredImage)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 5)])
def test_tiny_and_extreme_images_are_stored(size: tuple[int, int], encode) -> None:
    for file_format in ("JPEG", "PNG", "GIF"):
        stored = store_image(encode(Image.new("RGB", size, "navy"), file_format), ImageSettings())
        assert isinstance(stored, StoredImage)
        assert (stored.original_width, stored.original_height) == size
        assert Image.open(io.BytesIO(stored.data)).size == (stored.width, stored.height)
        assert min(stored.width, stored.height) >= 1
        assert len(stored.thumbnail) == 192


@pytest.fixture(scope="module")
def foreign(profile_of) -> bytes:
    return profile_of((0.6, 0.3, 0.0), (0.2, 0.6, 0.1), (0.16, 0.1, 0.7), 1.8)


@pytest.mark.parametrize(("encode_format", "quality"), [("jpg", 95), ("png", 6), ("webp", 90)])
def test_hash_and_thumbnail_are_of_the_stored_pixels(encode_format: Any, quality: int, draw, encode, foreign) -> None:
    bodies = [encode(draw(*size, seed=9), "PNG") for size in [(700, 500), (300, 200), (64, 700)]]
    bodies.append(encode(draw(640, 480, seed=1).convert("L"), quality=80))
    bodies.append(encode(draw(640, 480, seed=2), exif=exif(6)))
    bodies.append(encode(draw(600, 300), icc_profile=foreign))
    for body in bodies:
        stored = store_image(body, ImageSettings(encode_format=encode_format, quality=quality))
        assert isinstance(stored, StoredImage)
        shown = Image.open(io.BytesIO(stored.data))
        assert shown.size == (stored.width, stored.height)
        assert f"{stored.phash:016x}" == str(imagehash.phash(shown))
        assert stored.thumbnail == thumbnail(shown.convert("RGB"))


def test_threads_give_the_same_results(draw, encode, foreign) -> None:
    formats = ["JPEG", "PNG", "TIFF"] * 3
    bodies = [encode(draw(300 + 40 * n, 300), file, icc_profile=foreign) for n, file in enumerate(formats)]
    bodies += [body[: len(body) // 2] for body in bodies]
    settings = ImageSettings(size=256)
    alone = [store_image(body, settings) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        for together in (list(pool.map(lambda body: store_image(body, settings), bodies)) for _ in range(3)):
            assert together == alone
