"""Draws the pictures of a pool, each unlike all before, says what they show, and writes their files."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.grammar import captions
from pairmill.pipeline.demo.identify import is_english
from pairmill.pipeline.demo.likeness import Gallery
from pairmill.pipeline.demo.planting import Draft
from pairmill.pipeline.demo.scene import Scene, random_scene

SOURCE, LICENSE = "pairmill-demo", "CC0-1.0"
PICTURES = "pictures"
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_QUALITY = 92


@dataclass(frozen=True)
class Drawn:
    """A new picture, the scene that it shows, and the generator that drew both, to go on with."""

    scene: Scene
    picture: Image.Image
    rng: np.random.Generator

    def say(self, language: str = "en") -> str:
        """A true caption that the language identifier takes for English; in another language, one it does not."""
        wanted = language == "en"
        return next(text for text in captions(self.scene, self.rng, language) if is_english(text) == wanted)


@dataclass
class Painter:
    """Draws one picture after the other; the same seed and the same calls give the same files.

    Pictures resemble no earlier one, and are numbered in the order in which they are written to
    ``folder/pictures``.
    """

    folder: Path
    seed: int
    gallery: Gallery = field(default_factory=Gallery)
    drawn: int = 0
    written: int = 0

    def draw(self) -> Drawn:
        """The next picture."""
        while True:
            rng = np.random.default_rng((self.seed, self.drawn))
            self.drawn += 1
            scene = random_scene(rng)
            picture = draw_scene(scene)
            if self.gallery.add_if_new(picture):
                return Drawn(scene, picture, rng)

    def good_pair(self, ending: str = "jpg") -> tuple[Draft, Drawn]:
        """The draft of a new good row, and what it shows."""
        drawn = self.draw()
        return replace(self.save(drawn.picture, ending), caption=drawn.say()), drawn

    def save(self, picture: Image.Image, ending: str = "jpg", **options: Any) -> Draft:
        """Write a picture; the draft of its row has no caption yet."""
        quality = {} if ending == "png" else {"quality": _QUALITY}
        buffer = io.BytesIO()
        picture.save(buffer, _FORMATS[ending], **{**quality, **options})
        return self.write(buffer.getvalue(), ending, picture.size)

    def write(self, body: bytes, ending: str, size: tuple[int, int] = (0, 0)) -> Draft:
        """Write bytes that decode to a picture of ``size`` (0, 0: to none); the draft has no caption yet."""
        name = f"{PICTURES}/{self.written:06d}.{ending}"
        self.written += 1
        (self.folder / name).write_bytes(body)
        return Draft(
            url=f"/{name}",
            caption=None,
            content=name,
            width=size[0],
            height=size[1],
            size=len(body),
            source=SOURCE,
            license=LICENSE,
        )


def as_stored(picture: Image.Image, orientation: int) -> Image.Image:
    """The pixels that show ``picture`` once the EXIF ``orientation`` (2..8) is applied to them."""
    return picture.transpose(_UNDO[orientation])


_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ORIENTATION_TAG = 0x0112
