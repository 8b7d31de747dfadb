from __future__ import annotations

import io

import pytest
from PIL import Image, ImageEnhance

from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.likeness import (
    DIFFERENT_ABOVE,
    hash_distance,
    is_safe_copy,
    stored,
    thumbnail,
    thumbnail_distance,
)
from pairmill.pipeline.demo.scene import Background, Group, Scene


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    groups = (Group("star", "red", "large", "solid", 1), Group("heart", "blue", "large", "dotted", 1))
    scene = Scene(640, 480, Background("gradient", "green", "white"), groups, "left_of", 0.5, 4, 90, 7)
    return Image.fromarray(draw_scene(scene))


def jpeg(picture: Image.Image, quality: int) -> bytes:
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=quality)
    return body.getvalue()


def test_copies_are_safe_and_other_pictures_are_not(picture: Image.Image) -> None:
    original = jpeg(picture, 92)
    assert is_safe_copy(original, jpeg(picture, 60))
    assert is_safe_copy(original, jpeg(picture.resize((480, 360)), 70))
    assert not is_safe_copy(original, jpeg(picture.resize((480, 400)), 70))  # another shape
    assert not is_safe_copy(original, jpeg(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 92))
    assert not is_safe_copy(original, jpeg(ImageEnhance.Brightness(picture).enhance(1.3), 92))


def test_hashes_see_no_colour_but_thumbnails_do() -> None:
    red, blue = (Image.new("RGB", (200, 200), "white") for _ in range(2))
    red.paste((200, 0, 0), (50, 50, 150, 120))
    blue.paste((0, 102, 0), (50, 50, 150, 120))  # as dark as the red
    assert hash_distance(red, blue) <= 2
    assert thumbnail_distance(red, blue) > DIFFERENT_ABOVE
    assert thumbnail_distance(red, red.copy()) == 0


def test_stored_bounds_the_longer_side(picture: Image.Image) -> None:
    assert stored(picture).size == (512, 384)
    assert stored(picture.convert("L")).mode == "RGB"
    assert thumbnail(picture).shape == (192,)
