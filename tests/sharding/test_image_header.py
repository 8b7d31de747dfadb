from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pairmill.sharding.image_header import image_size
from pairmill.sharding.image_headers import jpeg_sizes


def size_of(data: bytes) -> tuple[int, int] | None:
    return image_size(lambda offset, length: data[offset : offset + length])


@pytest.mark.parametrize(
    ("format", "save"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + bytes(60_000)}),
        ("JPEG", {"icc_profile": bytes(200_000)}),  # the frame starts far behind the first read
        ("JPEG", {"comment": b"c" * 4090}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + bytes(100)}),  # the extended form
    ],
)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 300), (1025, 3)])
def test_size_of_what_pillow_writes(
    picture: Callable[..., bytes], format: str, save: dict[str, object], width: int, height: int
) -> None:
    assert size_of(picture(width, height, format, **save)) == (width, height)


@given(length=st.integers(3900, 4300))
@settings(max_examples=60, deadline=None)
def test_a_frame_at_the_edge_of_the_first_read(length: int) -> None:
    segments = b"\xff\xfe" + struct.pack(">H", length) + bytes(length - 2)
    frame = b"\xff\xff\xff\xc2" + struct.pack(">HBHH", 11, 8, 200, 100) + bytes(4)  # two fill bytes before it
    assert size_of(b"\xff\xd8" + segments + frame) == (100, 200)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xc0\x00\x0b\x08\x00",  # cut in the frame
        b"\xff\xd8\xff\xda\x00\x08" + bytes(50),  # image data before any frame
        b"\xff\xd8\xff\xe0\x00\x01" + bytes(50),  # a length that does not cover itself
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 100_000,  # endless empty segments
        b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x10" + bytes(20),  # height 0
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(40),
        b"RIFF\x00\x00\x00\x00WEBPVP8X",
        b"GIF89a" + bytes(40),
        b"<html>",
    ],
)
def test_what_has_no_size(data: bytes) -> None:
    assert size_of(data) is None


@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.integers(0, 60), st.binary(min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_noise_never_crashes(format: str, place: int, noise: bytes) -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 7)).save(file, format)
    data = bytearray(file.getvalue())
    data[place : place + len(noise)] = noise
    size = size_of(bytes(data))
    assert size is None or (size[0] > 0 and size[1] > 0)


@pytest.mark.real_data
def test_agrees_with_pillow_on_real_photographs(shared_data: Path) -> None:
    files = sorted((shared_data / "photos").rglob("*.jpg"))[:150]
    assert files
    for path in files:
        parser = ImageFile.Parser()
        data = path.read_bytes()
        parser.feed(data)
        assert parser.image is not None
        assert size_of(data) == parser.image.size, path.name


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.tuples(st.integers(0xC0, 0xFF), st.binary(max_size=30)).map(
                lambda parts: b"\xff\xd8\xff" + bytes([parts[0]]) + parts[1]
            ),
            st.tuples(st.integers(1, 99), st.lists(st.integers(0, 300), max_size=70)).map(
                lambda parts: (
                    b"\xff\xd8"
                    + b"".join(b"\xff\xe1" + struct.pack(">H", n + 2) + bytes(n) for n in parts[1])
                    + b"\xff\xc0\x00\x0b\x08\x00\x07\x00"
                    + bytes([parts[0]])
                    + bytes(4)
                )
            ),
        ),
        max_size=8,
    )
)
@settings(deadline=None)
def test_many_at_once_are_as_one_by_one(images: list[bytes]) -> None:
    sizes = np.array([len(image) for image in images], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    found = jpeg_sizes(b"".join(images) or b"\0", starts, sizes)
    for image, (width, height) in zip(images, found.tolist(), strict=True):
        assert (width, height) == (0, 0) or size_of(image) == (width, height)
    ordinary = [image for image in images if image.endswith(bytes(4)) and size_of(image)]
    if len(images) == 1 and ordinary and images[0].count(b"\xff\xe1") < 60:
        assert found[0, 0] > 0


def test_photographs_are_all_found_at_once(picture: Callable[..., bytes]) -> None:
    images = [picture(10 + n, 30, "JPEG", exif=b"Exif\0\0" + bytes(n * 900)) for n in range(20)]
    sizes = np.array([len(image) for image in images], dtype=np.int64)
    found = jpeg_sizes(b"".join(images), np.cumsum(sizes) - sizes, sizes)
    assert found.tolist() == [[10 + n, 30] for n in range(20)]
