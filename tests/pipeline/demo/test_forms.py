from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pairmill.pipeline.demo.forms import FORMS, picture_at, picture_file, picture_path, picture_size, scene_shown
from pairmill.transforms.image.likeness import phash, thumbnail

KEPT = sorted(set(FORMS) - {"truncated", "garbage", "empty", "tiny", "one_pixel", "strip"})


def upright(form: str, number: int) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(picture_file(6, form, number)))).convert("RGB")


@pytest.mark.parametrize("form", FORMS)
def test_an_address_gives_the_file(form: str) -> None:
    path = picture_path(6, form, 41)
    assert picture_at(path) == picture_file(6, form, 41) == picture_file(6, form, 41)
    assert picture_at("/" + path) is None
    assert picture_at(path + "x") is None


@pytest.mark.parametrize("form", KEPT)
def test_pictures_have_the_size_that_is_told(form: str) -> None:
    for number in (3, 4, 5, 6):
        width, height = picture_size(6, form, number)
        assert upright(form, number).size == (width, height)
        assert min(width, height) >= 200
        assert max(width, height) <= 3 * min(width, height)


def test_an_unknown_form_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        picture_file(0, "nothing", 1)


@pytest.mark.parametrize("form", ["resized", "recompressed"])
def test_copies_are_near_their_original_and_worse(form: str) -> None:
    for number in range(12):
        body, copy_body = picture_file(6, "plain", number), picture_file(6, form, number)
        original, copy = upright("plain", number), upright(form, number)
        assert (-copy.width * copy.height, -len(copy_body)) > (-original.width * original.height, -len(body))
        assert (phash(original) ^ phash(copy)).bit_count() <= 2
        apart = np.frombuffer(thumbnail(original), np.uint8).astype(int) - np.frombuffer(thumbnail(copy), np.uint8)
        assert np.abs(apart).mean() < 4
        assert copy.width / copy.height == pytest.approx(original.width / original.height, rel=0.01)


@pytest.mark.parametrize("form", ["cropped", "mirrored", "watermarked"])
def test_altered_copies_are_no_near_duplicates_of_today(form: str) -> None:
    for number in range(20):
        original, copy = upright("plain", number), upright(form, number)
        bits = (phash(original) ^ phash(copy)).bit_count()
        small = [np.frombuffer(thumbnail(picture), np.uint8).astype(int) for picture in (original, copy)]
        aspect = (copy.width / copy.height) / (original.width / original.height)
        assert bits > 2 or np.abs(small[0] - small[1]).mean() > 8 or not 0.98 < aspect < 1.02


def test_mirrored_and_exif_pictures_show_the_same_scene() -> None:
    original = np.asarray(upright("plain", 8), int)
    assert np.abs(np.asarray(upright("mirrored", 8), int)[:, ::-1] - original).mean() < 12
    for number in range(7):
        assert np.abs(np.asarray(upright("exif", number), int) - np.asarray(upright("plain", number), int)).mean() < 6
        assert Image.open(io.BytesIO(picture_file(6, "exif", number))).getexif()[0x0112] == 2 + number


def test_damaged_files_are_damaged() -> None:
    for number in range(5):
        with pytest.raises(OSError, match="truncated"):
            Image.open(io.BytesIO(picture_file(6, "truncated", number))).load()
        with pytest.raises(OSError, match="cannot identify"):
            Image.open(io.BytesIO(picture_file(6, "garbage", number)))
        assert picture_file(6, "empty", number) == b""
        assert upright("one_pixel", number).size == (1, 1)
        assert min(upright("tiny", number).size) < 200
        width, height = upright("strip", number).size
        assert height >= 200
        assert width > 3 * height


def test_blank_pictures_are_blank_and_all_different() -> None:
    files = [picture_file(6, "blank", number) for number in range(40)]
    assert len(set(files)) == 40
    assert np.ptp(np.asarray(upright("blank", 3)), axis=(0, 1)).max() == 0
    assert scene_shown(6, "blank", 3) is None
