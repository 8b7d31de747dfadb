from __future__ import annotations

import dataclasses

import pytest

from pairmill.transforms.image.settings import ImageSettings


def test_defaults_are_those_of_datacomps_download() -> None:
    settings = ImageSettings()
    assert (settings.size, settings.resize_mode, settings.only_if_bigger) == (512, "keep_ratio_largest", True)
    assert (settings.encode_format, settings.quality) == ("jpg", 95)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("size", 0, "size is 0; for encode_format jpg give 1 to 65500"),
        ("resize_mode", "squash", "resize_mode is 'squash'; choose one of no, keep_ratio"),
        ("encode_format", "jpeg", "encode_format is 'jpeg'; choose one of jpg, png, webp"),
        ("quality", 101, "quality is 101"),
        ("max_pixels", 0, "max_pixels is 0"),
        ("min_side", -1, "min_side is -1"),
        ("animated", "last", "animated is 'last'; choose one of first_frame, reject"),
    ],
)
def test_a_wrong_value_is_one_clear_line(field: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        ImageSettings(**{field: value})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_quality_of_png_is_its_compression_level() -> None:
    with pytest.raises(ValueError, match="quality is 95; for encode_format png give 0 to 9"):
        ImageSettings(encode_format="png")
    assert ImageSettings(encode_format="png", quality=6).quality == 6


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ImageSettings().size = 3  # type: ignore[misc]
