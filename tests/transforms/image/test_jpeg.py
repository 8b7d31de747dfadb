from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairmill.transforms.image.jpeg import read_layout
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import ImageFailure, StoredImage, store_image

AS_IS = ImageSettings(resize_mode="no")
EOI = b"\xff\xd9"


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def dressed(jpeg: bytes) -> bytes:
    """A JPEG with everything that cameras and agencies put around the picture."""
    exif = Image.Exif()
    exif[0x010F] = "a maker of cameras"
    extras = [
        segment(0xE0, b"JFXX\x00\x10" + jpeg[:200]),
        segment(0xE1, exif.tobytes()),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta/>"),
        segment(0xE2, b"FPXR\x00abc"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\x00\x00secret byline"),
        segment(0xEC, b"Ducky" + bytes(9)),
        segment(0xFE, b"a comment"),
    ]
    return jpeg[:2] + jpeg[2:20] + b"".join(extras) + b"\xff" + jpeg[20:] + b"trailing bytes" + jpeg


KINDS = {
    "baseline": {"quality": 90},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2, restart markers": {"subsampling": 1, "restart_marker_blocks": 3},
    "optimized": {"optimize": True, "quality": 30},
}


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_passes_through_without_its_metadata(kind: str, mode: str, draw, encode, pixels) -> None:
    body = dressed(encode(draw(203, 117, seed=4).convert(mode), **KINDS[kind]))
    stored = store_image(body, AS_IS)
    assert isinstance(stored, StoredImage)
    assert not stored.reencoded
    assert np.array_equal(pixels(stored.data), pixels(body))
    shown = Image.open(io.BytesIO(stored.data))
    assert shown.mode == mode
    assert {name for name, _ in shown.applist} == {"APP0"}  # type: ignore[attr-defined]
    for trace in (b"maker", b"xmpmeta", b"byline", b"Ducky", b"comment", b"trailing", b"JFXX"):
        assert trace not in stored.data
    assert stored.data.startswith(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    assert stored.data.endswith(EOI)
    assert stored.data.count(EOI) == 1
    again = store_image(stored.data, AS_IS)
    assert isinstance(again, StoredImage)
    assert again.data == stored.data


def test_the_adobe_segment_stays_because_it_tells_the_colours(draw, encode, pixels) -> None:
    body = encode(draw(64, 48), keep_rgb=True, quality=95)
    adobe = segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x00")
    body = body[:2] + adobe + body[2:]
    stored = store_image(body, AS_IS)
    assert isinstance(stored, StoredImage)
    assert not stored.reencoded
    assert adobe in stored.data
    assert np.array_equal(pixels(stored.data), pixels(body))


def test_the_thumbnail_inside_jfif_goes(draw, encode, pixels) -> None:
    body = encode(draw(64, 48))
    assert body[2:4] == b"\xff\xe0"
    jfif = segment(0xE0, body[6:18] + b"\x02\x02" + b"thumbnail!!!")
    stored = store_image(body[:2] + jfif + body[20:], AS_IS)
    assert isinstance(stored, StoredImage)
    assert stored.data == body


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_found_or_harmless(kind: str, draw, encode, pixels) -> None:
    """Cut anywhere, as it is or with an end marker put behind: refused, or at most the last bits were made up."""
    body = encode(draw(64, 48, seed=7), **KINDS[kind])
    whole = pixels(body)
    for cut in range(len(body)):
        outcome = store_image(body[:cut], AS_IS)
        if isinstance(outcome, StoredImage):
            assert cut >= len(body) - 30
            assert np.mean(pixels(outcome.data) != whole) < 0.1
        if kind == "progressive":
            continue  # an early end marker behind complete scans is how a progressive file ends
        outcome = store_image(body[:cut] + EOI, AS_IS)
        if isinstance(outcome, StoredImage):
            assert cut >= len(body) - 30
            assert np.mean(pixels(outcome.data) != whole) < 0.1
    assert isinstance(store_image(body, AS_IS), StoredImage)


@pytest.mark.parametrize("kind", ["baseline", "optimized", "4:4:4"])
def test_a_missing_end_marker_alone_loses_nothing(kind: str, draw, encode) -> None:
    body = encode(draw(120, 80), **KINDS[kind])
    stored = store_image(body[:-2], AS_IS)
    assert isinstance(stored, StoredImage)
    assert stored.data == body


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_never_raise_and_what_is_stored_is_what_was_measured(data: st.DataObject) -> None:
    file = io.BytesIO()
    Image.effect_mandelbrot((80, 60), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(
        file, "JPEG", progressive=data.draw(st.booleans())
    )
    body = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    outcome = store_image(bytes(body), AS_IS)
    if isinstance(outcome, StoredImage):
        shown = Image.open(io.BytesIO(outcome.data))
        assert shown.convert("RGB").size == (outcome.width, outcome.height)


def test_a_bomb_is_refused_from_its_header(draw, encode) -> None:
    body = encode(draw(64, 48))
    frame = body.index(b"\xff\xc0")
    body = body[: frame + 5] + struct.pack(">HH", 60_000, 60_000) + body[frame + 9 :]
    outcome = store_image(body, AS_IS)
    assert isinstance(outcome, ImageFailure)
    assert outcome.reason == "too_many_pixels"


def test_endless_scans_are_refused(draw, encode) -> None:
    body = encode(draw(640, 480), progressive=True)
    last = body.rindex(b"\xff\xda")
    few = ImageSettings(resize_mode="no", max_pixels=640 * 480)
    assert isinstance(store_image(body, few), StoredImage)
    outcome = store_image(body[:-2] + body[last:-2] * 20 + EOI, few)
    assert isinstance(outcome, ImageFailure)
    assert "scans of 640 x 480" in outcome.detail


def test_a_layout_tells_what_the_header_says(draw, encode, profile_of: Callable[..., bytes]) -> None:
    profile = profile_of((0.6, 0.3, 0.0), (0.2, 0.6, 0.1), (0.16, 0.1, 0.7), 2.2) + bytes(70_000)
    layout = read_layout(encode(draw(31, 17), progressive=True, icc_profile=profile))
    assert layout is not None
    assert (layout.width, layout.height, layout.components, layout.frame) == (31, 17, 3, "progressive")
    assert layout.complete
    assert layout.scans > 3
    assert layout.icc_profile() == profile


@pytest.mark.parametrize("rest", [b"", EOI, b"\xff\xe0\x00", b"\xff\xe0\x00\x01" * 3, b"junk" * 3])
def test_an_unusual_file_has_no_layout(rest: bytes) -> None:
    assert read_layout(b"\xff\xd8" + rest) is None


@pytest.mark.real_data
def test_real_photographs_pass_through_with_the_same_pixels(shared_data: Path, pixels) -> None:
    photos, clothing = (sorted((shared_data / folder / "images").iterdir()) for folder in ("photos", "clothing"))
    passed = 0
    for path in [*photos[:30], *clothing[:60]]:
        body = path.read_bytes()
        stored = store_image(body, AS_IS)
        assert isinstance(stored, StoredImage), path.name
        if not stored.reencoded:
            passed += 1
            assert np.array_equal(pixels(stored.data), pixels(body)), path.name
            assert len(stored.data) <= len(body)
    assert passed > 60
