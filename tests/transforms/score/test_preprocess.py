"""Pictures are made ready as open_clip does it, to the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pairmill.transforms.score.preprocess import Preprocessing, read_preprocessing
from pairmill.transforms.score.stored_image import decode_stored

OPENAI = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8))


def floats(preprocessing: Preprocessing, image: Image.Image) -> Any:
    import torch

    return preprocessing.normalise(torch.from_numpy(preprocessing.prepare(image).copy())[None])[0]


@given(
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    size=st.sampled_from([(32, 32), (48, 32), (24, 40)]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    resize_mode=st.sampled_from(["shortest", "longest", "squash"]),
    fill=st.sampled_from([0, 200]),
)
def test_the_numbers_are_those_of_open_clip(
    width: int, height: int, size: tuple[int, int], interpolation: Any, resize_mode: Any, fill: int
) -> None:
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2

    ours = Preprocessing(**OPENAI, interpolation=interpolation, resize_mode=resize_mode, fill_color=fill, size=size)
    config = PreprocessCfg(size=size, interpolation=interpolation, resize_mode=resize_mode, fill_color=fill, **OPENAI)
    image = noise(width, height)
    try:
        theirs = image_transform_v2(config, is_train=False)(image)
    except ValueError:  # a line that the longest side makes thinner than a pixel
        assert resize_mode == "longest"
        assert max(width, height) > 30 * min(width, height)
        return
    assert torch.equal(floats(ours, image), theirs)


@pytest.mark.real_data
def test_real_photographs_come_out_as_the_oracle_has_them(shared_data: Path) -> None:
    folder = shared_data / "clip_b32_oracle"
    oracle = np.load(folder / "clip_vitb32_oracle.npz", allow_pickle=False)
    ours = Preprocessing(**OPENAI, interpolation="bicubic", resize_mode="shortest", size=(224, 224))
    for name, tensor in zip(oracle["names"], oracle["tensors"], strict=True):
        found = floats(ours, decode_stored((folder / str(name)).with_suffix(".jpg").read_bytes()))
        assert np.abs(found.numpy() - tensor).max() <= 1e-4, name


def test_the_picture_stays_as_it_was() -> None:
    image = noise(60, 40)
    before = image.tobytes()
    Preprocessing(**OPENAI, interpolation="bicubic", resize_mode="shortest", size=(32, 32)).prepare(image)
    assert image.tobytes() == before


def test_a_line_of_pixels_is_refused_before_it_fills_the_memory() -> None:
    ours = Preprocessing(**OPENAI, interpolation="bicubic", resize_mode="shortest", size=(224, 224))
    with pytest.raises(ValueError, match="60000 x 3 pixels would be resized to 4480000 x 224"):
        ours.prepare(Image.new("RGB", (60_000, 3)))


def test_a_configuration_without_mean_and_std_is_refused() -> None:
    with pytest.raises(ValueError, match="names no mean and std"):
        read_preprocessing({"interpolation": "bicubic"})
    read = read_preprocessing({"mean": 0.5, "std": [0.5, 0.25, 0.5]})
    assert read == Preprocessing((0.5, 0.5, 0.5), (0.5, 0.25, 0.5), "bicubic", "shortest")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"std": (0.5, 0.0, 0.5)}, "std"),
        ({"std": (0.5, float("nan"), 0.5)}, "std"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"resize_mode": "crop"}, "resize_mode"),
        ({"fill_color": 256}, "fill_color"),
        ({"size": (0, 32)}, "size"),
    ],
)
def test_wrong_parameters_are_told(change: dict[str, Any], told: str) -> None:
    parameters: dict[str, Any] = {**OPENAI, "interpolation": "bicubic", "resize_mode": "shortest", **change}
    with pytest.raises(ValueError, match=f"preprocessing: {told} is"):
        Preprocessing(**parameters)
