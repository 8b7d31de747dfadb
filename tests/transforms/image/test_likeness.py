from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairmill.transforms.image.lanczos import to_32x32
from pairmill.transforms.image.likeness import phash, thumbnail


@st.composite
def grey_or_colour(draw_value: st.DrawFn) -> Image.Image:
    width, height = draw_value(st.integers(1, 700)), draw_value(st.integers(1, 120))
    random = np.random.default_rng(draw_value(st.integers(0, 2**32)))
    channels = draw_value(st.sampled_from([(), (3,)]))
    kind = draw_value(st.sampled_from(["noise", "extremes", "flat", "ramp"]))
    shape = (height, width, *channels)
    if kind == "noise":
        values = random.integers(0, 256, shape)
    elif kind == "extremes":
        values = random.integers(0, 2, shape) * 255
    elif kind == "flat":
        values = np.full(shape, random.integers(0, 256))
    else:
        values = np.indices(shape).sum(axis=0) % 256
    return Image.fromarray(values.astype(np.uint8))


@settings(max_examples=150, deadline=None)
@given(grey_or_colour())
def test_phash_is_imagehashs_bit_for_bit(image: Image.Image) -> None:
    assert f"{phash(image):016x}" == str(imagehash.phash(image))


@pytest.mark.real_data
def test_phash_of_real_photographs(shared_data: Path) -> None:
    for path in sorted((shared_data / "photos" / "images").iterdir())[:40]:
        image = Image.open(io.BytesIO(path.read_bytes()))
        assert f"{phash(image):016x}" == str(imagehash.phash(image)), path.name


@pytest.mark.parametrize("width", [*range(60, 560, 7), 512, 639, 640, 1024, 1299, 1300, 1301, 2000])
def test_the_fast_lanczos_is_pillows_byte_for_byte(width: int) -> None:
    random = np.random.default_rng(width)
    for values in (random.integers(0, 256, (70, width)), random.integers(0, 2, (33, width)) * 255):
        grey = Image.fromarray(values.astype(np.uint8))
        assert to_32x32(grey).tobytes() == grey.resize((32, 32), Image.Resampling.LANCZOS).tobytes()


def test_thumbnail_is_the_average_of_each_cell() -> None:
    cells = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert thumbnail(Image.fromarray(cells.repeat(48, axis=0).repeat(64, axis=1))) == cells.tobytes()
    grey = Image.fromarray(cells[..., 0].repeat(5, axis=0).repeat(5, axis=1))
    assert thumbnail(grey) == cells[..., :1].repeat(3, axis=2).tobytes()


@pytest.mark.parametrize("size", [(512, 384), (341, 512), (400, 300), (97, 61), (509, 503)])
def test_thumbnail_is_near_the_exact_area_average(size: tuple[int, int], draw) -> None:
    image = draw(*size, seed=size[0])
    width, height = size

    def cover(length: int) -> np.ndarray:  # share of each pixel in each of eight equal cells
        edges = np.arange(9) * length / 8
        at = np.arange(length)
        shares = np.minimum.outer(edges[1:], at + 1) - np.maximum.outer(edges[:-1], at)
        return shares.clip(0) / (length / 8)

    exact = np.einsum("ay,bx,yxc->abc", cover(height), cover(width), np.asarray(image).astype(float))
    made = np.frombuffer(thumbnail(image), np.uint8).reshape(8, 8, 3)
    assert np.abs(made - exact).mean() < 1.5
    assert np.abs(made - exact).max() < 10


@given(grey_or_colour())
def test_thumbnail_is_pillows_box_filter_within_one_level(image: Image.Image) -> None:
    expected = image.resize((8, 8), Image.Resampling.BOX).convert("RGB")
    made = np.frombuffer(thumbnail(image), np.uint8).astype(int)
    assert np.abs(made - np.asarray(expected).ravel()).max() <= 1


def test_thumbnail_of_one_pixel_is_that_colour() -> None:
    assert thumbnail(Image.new("RGB", (1, 1), (9, 8, 7))) == bytes((9, 8, 7)) * 64
