"""The picture files of a pool, each made from three words of its address: ``/drawn/SEED/FORM/NUMBER.jpg``.

Whoever knows the address can make the file: a server on request, a writer into a folder, a test.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pairmill.pipeline.demo import altered
from pairmill.pipeline.demo.chance import EVALUATION, MAX_SEED
from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.misstated import scene_of_two
from pairmill.pipeline.demo.scene import Scene, scene_at
from pairmill.pipeline.demo.twins import recoloured_scene, recounted_scene, roomy_scene

Pixels = npt.NDArray[np.uint8]

_WORSE = 25  # by so much the JPEG quality of a copy is lower
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_ENDINGS = {"png": "png", "webp": "webp", "one_pixel": "png"}
_ADDRESS = re.compile(r"drawn/([0-9]{1,10})/([a-z_]{1,20})/([0-9]{1,18})\.(jpg|png|webp)")


def scene_shown(seed: int, form: str, number: int) -> Scene | None:
    """The scene that a picture shows, before it was cut or damaged; None for a blank one.

    Raises KeyError for a form that is not in ``FORMS``.
    """
    return FORMS[form][0](seed, number)


def picture_path(seed: int, form: str, number: int) -> str:
    """The address of a picture on its server, without the leading slash."""
    return f"drawn/{seed}/{form}/{number}.{_ENDINGS.get(form, 'jpg')}"


def picture_at(path: str) -> bytes | None:
    """The file at an address that ``picture_path`` gives; None where the path is no such address."""
    match = _ADDRESS.fullmatch(path)
    if not match:
        return None
    seed, form, number = int(match[1]), match[2], int(match[3])
    if seed > MAX_SEED or form not in FORMS or path != picture_path(seed, form, number):
        return None
    return picture_file(seed, form, number)


def picture_file(seed: int, form: str, number: int) -> bytes:
    """The bytes of a picture file. Raises KeyError for a form that is not in ``FORMS``."""
    find, make = FORMS[form]
    scene = find(seed, number)
    return make(scene, number) if scene is not None else _blank(number)


def picture_size(seed: int, form: str, number: int) -> tuple[int, int]:
    """Width and height of a picture that a reader sees, for forms that are meant to be kept."""
    scene = scene_shown(seed, form, number)
    if scene is None:
        return _blank_size(number)
    if form in ("resized", "leaked_copy"):
        return altered.resized_size(scene.width, scene.height, number)
    if form == "cropped":
        left, top, right, bottom = altered.cropped_box(scene.width, scene.height, number)
        return right - left, bottom - top
    return scene.width, scene.height


def encoded(picture: Image.Image, ending: str = "jpg", **options: Any) -> bytes:
    """The picture in a file whose name would have this ending."""
    buffer = io.BytesIO()
    picture.save(buffer, _FORMATS[ending], **options)
    return buffer.getvalue()


def _jpeg(scene: Scene, number: int) -> bytes:
    return encoded(Image.fromarray(draw_scene(scene)), quality=scene.quality)


def _other_format(ending: str) -> Callable[[Scene, int], bytes]:
    return lambda scene, number: encoded(Image.fromarray(draw_scene(scene)), ending, quality=90)


def _copy(alter: Callable[[Pixels, int], Pixels]) -> Callable[[Scene, int], bytes]:
    """A copy of the decoded file, saved again with a lower quality."""

    def make(scene: Scene, number: int) -> bytes:
        with Image.open(io.BytesIO(_jpeg(scene, number))) as first:
            pixels = alter(np.asarray(first), number)
        return encoded(Image.fromarray(pixels), quality=scene.quality - _WORSE)

    return make


def _exif(scene: Scene, number: int) -> bytes:
    """A picture stored on its side or mirrored, with the note that says so."""
    orientation = 2 + number % 7
    exif = Image.Exif()
    exif[altered.ORIENTATION_TAG] = orientation
    stored = altered.as_stored(Image.fromarray(draw_scene(scene)), orientation)
    return encoded(stored, quality=scene.quality, exif=exif.tobytes())


def _truncated(scene: Scene, number: int) -> bytes:
    """A JPEG that ends after three to seven tenths."""
    body = _jpeg(scene, number)
    return body[: len(body) * (3 + number % 5) // 10]


def _garbage(scene: Scene, number: int) -> bytes:
    return np.random.PCG64(number).random_raw(256).tobytes()


def _empty(scene: Scene, number: int) -> bytes:
    return b""


def _tiny(scene: Scene, number: int) -> bytes:
    small = Image.fromarray(draw_scene(scene)).resize((scene.width // 5, scene.height // 5), Image.Resampling.BOX)
    return encoded(small, quality=scene.quality)


def _one_pixel(scene: Scene, number: int) -> bytes:
    return encoded(Image.fromarray(draw_scene(scene)[:1, :1]), "png")


def _strip(scene: Scene, number: int) -> bytes:
    """A band of the picture, four times as wide as high."""
    band = Image.fromarray(draw_scene(scene)[: scene.height // 4])
    return encoded(band.resize((920 + number % 80, 230), Image.Resampling.LANCZOS), quality=scene.quality)


def _blank(number: int) -> bytes:
    """Pictures of nothing, all alike: they have no outlines to compare, and none counts as a copy of another."""
    return encoded(Image.new("RGB", _blank_size(number), (150, 160, 170)), quality=90)


def _blank_size(number: int) -> tuple[int, int]:
    """No two of 90,000 pictures in a row have one size, so none have the same bytes."""
    return 224 + number % 300, 224 + number // 300 % 300


def _evaluation_scene(seed: int, number: int) -> Scene:
    return scene_at(seed, number, EVALUATION)


def _same(pixels: Pixels, number: int) -> Pixels:
    return pixels


def _mirrored(pixels: Pixels, number: int) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1])


Finder = Callable[[int, int], Scene | None]
Maker = Callable[[Scene, int], bytes]
#: Form → how to find the scene that it shows, and how to make its file. A number names the same scene in all forms
#: that have the same finder: copies have the number of their original.
FORMS: dict[str, tuple[Finder, Maker]] = {
    "plain": (scene_at, _jpeg),
    "png": (scene_at, _other_format("png")),
    "webp": (scene_at, _other_format("webp")),
    "exif": (scene_at, _exif),
    "resized": (scene_at, _copy(altered.resized)),
    "recompressed": (scene_at, _copy(_same)),
    "cropped": (scene_at, _copy(altered.cropped)),
    "mirrored": (scene_at, _copy(_mirrored)),
    "watermarked": (scene_at, _copy(altered.watermarked)),
    "truncated": (scene_at, _truncated),
    "garbage": (scene_at, _garbage),
    "empty": (scene_at, _empty),
    "tiny": (scene_at, _tiny),
    "one_pixel": (scene_at, _one_pixel),
    "strip": (scene_at, _strip),
    "two_groups": (scene_of_two, _jpeg),
    "roomy": (roomy_scene, _jpeg),
    "recoloured": (recoloured_scene, _jpeg),
    "recounted": (recounted_scene, _jpeg),
    "evaluation": (_evaluation_scene, _jpeg),
    "leaked_copy": (_evaluation_scene, _copy(altered.resized)),
    "blank": (lambda seed, number: None, _jpeg),
}
