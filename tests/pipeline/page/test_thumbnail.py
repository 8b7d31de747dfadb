"""Small pictures of whatever bytes a dataset holds."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from pairmill.pipeline.page import thumbnail as module
from pairmill.pipeline.page.thumbnail import EDGE, NoPicture, thumbnail


def shown(image: bytes) -> Image.Image:
    told = thumbnail(image)
    assert told.startswith("data:image/jpeg;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(told.partition(",")[2])))
    picture.load()
    assert max(picture.size) <= EDGE
    return picture


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1", "LA", "RGBA", "I;16"])
def test_every_mode(mode: str) -> None:
    picture = Image.new(mode, (600, 300))
    assert shown(saved(picture, "JPEG" if mode == "CMYK" else "PNG")).size == (EDGE, EDGE // 2)


def test_what_is_small_stays_small() -> None:
    assert shown(saved(Image.new("RGB", (3, 2)), "PNG")).size == (3, 2)


def test_the_turn_that_a_camera_notes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert shown(saved(Image.new("RGB", (600, 300)), "JPEG", exif=exif)).size == (EDGE // 2, EDGE)


def test_what_is_transparent_stands_on_white() -> None:
    assert shown(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG")).getpixel((4, 4)) == (255, 255, 255)


def test_the_first_picture_of_a_film() -> None:
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    pixel = shown(saved(red, "GIF", save_all=True, append_images=[blue])).getpixel((4, 4))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 200 > pixel[2]


@pytest.mark.parametrize(
    "image", [b"", b"no image", b"\xff\xd8\xff\xe0", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0"]
)
def test_what_does_not_decode(image: bytes) -> None:
    with pytest.raises(NoPicture, match="does not decode"):
        thumbnail(image)


def test_half_a_picture(draw_picture: object) -> None:
    whole = saved(Image.linear_gradient("L").resize((640, 640)), "JPEG")
    with pytest.raises(NoPicture):
        thumbnail(whole[: len(whole) // 3])


def test_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 99)
    with pytest.raises(NoPicture, match="too large"):
        thumbnail(saved(Image.new("L", (10, 10)), "PNG"))


@pytest.mark.real_data
def test_hostile_files(shared_data: Path) -> None:
    files = [path for path in sorted((shared_data / "hostile").rglob("*")) if path.is_file() and path.suffix != ".json"]
    assert len(files) > 500
    told = 0
    for file in files:
        try:
            shown(file.read_bytes())
        except NoPicture:
            told += 1
    assert 0 < told < len(files)
