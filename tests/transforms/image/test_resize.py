from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pairmill.transforms.image.resize import plan_resize, resize
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import ImageFailure, StoredImage, store_image

MODES = ["no", "keep_ratio", "center_crop", "border", "keep_ratio_largest"]


def resizer(pixels: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """img2dataset 1.47's ``Resizer`` with albumentations 1.4, written out: what decides about sizes and pixels."""
    height, width = pixels.shape[:2]
    size, mode = settings.size, settings.resize_mode
    if mode == "no":
        return pixels
    side = min(width, height) if mode in ("keep_ratio", "center_crop") else max(width, height)
    downscale = side > size
    if settings.only_if_bigger and not downscale:
        return pixels
    scale = size / side
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    if target != (width, height):
        pixels = cv2.resize(pixels, target, interpolation=cv2.INTER_AREA if downscale else cv2.INTER_LANCZOS4)
    height, width = pixels.shape[:2]
    if mode == "center_crop":
        top, left = (height - size) // 2, (width - size) // 2
        return pixels[top : top + size, left : left + size]
    if mode == "border":
        top, left = int((size - height) / 2.0), int((size - width) / 2.0)
        white = (255, 255, 255)
        return cv2.copyMakeBorder(
            pixels, top, size - height - top, left, size - width - left, cv2.BORDER_CONSTANT, value=white
        )
    return pixels


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 60),
    st.sampled_from(MODES),
    st.booleans(),
)
@example(640, 480, 512, "keep_ratio_largest", True)
@example(1, 90, 40, "keep_ratio_largest", True)
@example(51, 50, 50, "center_crop", True)
def test_sizes_and_pixels_are_the_resizers(width: int, height: int, size: int, mode: Any, only_if_bigger: bool) -> None:
    settings = ImageSettings(size=size, resize_mode=mode, only_if_bigger=only_if_bigger)
    pixels = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    plan = plan_resize(width, height, settings)
    made = resize(pixels, plan) if plan else pixels
    assert np.array_equal(made, resizer(pixels, settings))
    assert plan is None or plan.stored == (made.shape[1], made.shape[0])


SIZES = {
    ("keep_ratio_largest", True): [(512, 384), (384, 512), (400, 300), (512, 1)],
    ("keep_ratio_largest", False): [(512, 384), (384, 512), (512, 384), (512, 1)],
    ("keep_ratio", True): [(640, 480), (480, 640), (400, 300), (2000, 2)],
    ("border", True): [(512, 512), (512, 512), (400, 300), (512, 512)],
    ("border", False): [(512, 512), (512, 512), (512, 512), (512, 512)],
    ("center_crop", False): [(512, 512), (512, 512), (512, 512)],
    ("no", True): [(640, 480), (480, 640), (400, 300), (2000, 2)],
}


SOURCES = [(640, 480), (480, 640), (400, 300), (2000, 2)]


@pytest.mark.parametrize(("mode", "only_if_bigger"), SIZES)
def test_stored_sizes(mode: Any, only_if_bigger: bool, encode) -> None:
    settings = ImageSettings(resize_mode=mode, only_if_bigger=only_if_bigger)
    for source, expected in zip(SOURCES, SIZES[mode, only_if_bigger], strict=False):
        stored = store_image(encode(Image.new("RGB", source, "teal")), settings)
        assert isinstance(stored, StoredImage)
        assert (stored.width, stored.height) == expected
        assert (stored.original_width, stored.original_height) == source
        assert Image.open(io.BytesIO(stored.data)).size == expected


def test_an_enlargement_that_would_fill_the_memory_is_refused(encode) -> None:
    settings = ImageSettings(resize_mode="keep_ratio", only_if_bigger=False, max_pixels=4_000_000)
    outcome = store_image(encode(Image.new("RGB", (2, 100))), settings)
    assert isinstance(outcome, ImageFailure)
    assert outcome.reason == "too_many_pixels"


def test_what_the_stored_format_cannot_hold_is_refused(encode) -> None:
    long = encode(Image.new("RGB", (20_000, 2)), "PNG")
    outcome = store_image(long, ImageSettings(resize_mode="no", encode_format="webp"))
    assert isinstance(outcome, ImageFailure)
    assert (outcome.reason, outcome.detail) == ("too_many_pixels", "would be stored as 20000 x 2 webp")
    assert isinstance(store_image(long, ImageSettings(resize_mode="no")), StoredImage)


IMG2DATASET = """
import io, json, sys
import numpy as np
sys.modules.setdefault("imghdr", type(sys)("imghdr"))
from img2dataset.resizer import Resizer
out = []
for mode, only_if_bigger in json.loads(sys.argv[2]):
    for path in json.loads(sys.argv[1]):
        resizer = Resizer(256, mode, only_if_bigger, encode_format="png", encode_quality=1)
        data, width, height, original_width, original_height, error = resizer(io.BytesIO(open(path, "rb").read()))
        assert error is None, error
        name = f"{path}.{mode}.{only_if_bigger}.png"
        open(name, "wb").write(data)
        out.append([path, mode, only_if_bigger, name, width, height, original_width, original_height])
print(json.dumps(out))
"""


def test_pixels_of_img2dataset_itself(tmp_path: Path, draw, encode) -> None:
    python = os.environ.get("PAIRMILL_IMG2DATASET_PYTHON")
    if not python:
        pytest.skip("set PAIRMILL_IMG2DATASET_PYTHON to a Python with img2dataset 1.47 to compare with it")
    paths = []
    for seed, size in enumerate([(640, 480), (333, 517), (200, 150), (97, 300), (256, 256)]):
        paths.append(str(tmp_path / f"{seed}.png"))
        Path(paths[-1]).write_bytes(encode(draw(*size, seed=seed), "PNG"))
    cases = [(mode, bigger) for mode in MODES for bigger in (True, False)]
    command = [python, "-c", IMG2DATASET, json.dumps(paths), json.dumps(cases)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    compared = 0
    for path, mode, bigger, theirs, *sizes in json.loads(answer):
        settings = ImageSettings(size=256, resize_mode=mode, only_if_bigger=bigger, encode_format="png", quality=1)
        ours = store_image(Path(path).read_bytes(), settings)
        assert isinstance(ours, StoredImage)
        assert [ours.width, ours.height, ours.original_width, ours.original_height] == sizes
        ours_pixels = np.asarray(Image.open(io.BytesIO(ours.data))).astype(int)
        difference = np.abs(ours_pixels - np.asarray(Image.open(theirs).convert("RGB")))
        # The other environment has another OpenCV: a rounding step apart in a few places.
        assert difference.max() <= 1, (path, mode, bigger)
        assert difference.mean() < 0.01
        compared += 1
    assert compared == len(paths) * len(cases)
