"""Pictures drawn here, and the ways to encode them that the tests share."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    """``draw(width, height, seed)``: smooth colours with some noise, no two corners alike, mode RGB."""

    def picture(width: int, height: int, seed: int = 0) -> Image.Image:
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        noisy = smooth + random.integers(-6, 7, (height, width, 1))
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))

    return picture


@pytest.fixture(scope="session")
def encode() -> Encode:
    """``encode(image, "JPEG", **options)``: the bytes of a file."""

    def to_bytes(image: Image.Image, file_format: str = "JPEG", **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, file_format, **options)
        return file.getvalue()

    return to_bytes


@pytest.fixture(scope="session")
def pixels() -> Callable[[bytes], np.ndarray]:
    """``pixels(data)``: what a plain ``PIL.Image.open`` shows of a file, as RGB."""

    def shown(data: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    return shown


@pytest.fixture(scope="session")
def profile_of() -> Callable[..., bytes]:
    """``profile_of(red, green, blue, gamma)``: an ICC v2 matrix profile from XYZ colorants under D50."""

    def tag(signature: bytes, values: tuple[float, ...]) -> bytes:
        return signature + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def build(
        red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...], gamma: float, space: bytes = b"RGB "
    ) -> bytes:
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
        name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\x00" + bytes(12 + 67)
        tags = {b"desc": name + bytes(-len(name) % 4), b"cprt": b"text" + bytes(4) + b"free\x00\x00\x00\x00"}
        tags[b"wtpt"] = tag(b"XYZ ", (0.9642, 1.0, 0.8249))
        if space == b"GRAY":
            tags[b"kTRC"] = curve
        else:
            tags |= {b"rXYZ": tag(b"XYZ ", red), b"gXYZ": tag(b"XYZ ", green), b"bXYZ": tag(b"XYZ ", blue)}
            tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
        table, data = struct.pack(">I", len(tags)), b""
        start = 128 + 4 + 12 * len(tags)
        for signature, content in tags.items():
            table += signature + struct.pack(">II", start + len(data), len(content))
            data += content
        header = struct.pack(">I", start + len(data)) + bytes(4) + struct.pack(">I", 0x02100000) + b"mntr" + space
        header += b"XYZ " + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
        header += b"".join(struct.pack(">i", round(value * 65536)) for value in (0.9642, 1.0, 0.8249))
        return header + bytes(128 - len(header)) + table + data

    return build
