"""From a scene to pixels, with Pillow and numpy alone; the same scene gives the same pixels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pairmill.pipeline.demo.scene import COLOURS, Background, Group, Scene

_SUPERSAMPLE = 2
_TEXTURE_PERIOD = 12  # pixels, large enough to survive a resize and JPEG
#: Side of a thing as a share of the picture's shorter side; many things in one region are made to fit.
_SIZE = {"small": 0.2, "large": 0.44}

FloatPlane = npt.NDArray[np.float32]


def draw_scene(scene: Scene) -> Image.Image:
    """The picture of a scene: mode RGB, ``scene.width`` x ``scene.height`` pixels."""
    rng = np.random.default_rng(scene.seed)
    picture = Image.fromarray(_background(scene.background, scene.width, scene.height))
    for group, box in zip(scene.groups, _regions(scene), strict=True):
        _place_group(picture, group, box, rng)
    return _lit(picture, scene.light, scene.noise, rng)


def _regions(scene: Scene) -> list[tuple[int, int, int, int]]:
    """One box (left, top, right, bottom) a group: the arrangement is what a caption may speak of."""
    width, height = scene.width, scene.height
    if scene.arrangement == "beside":
        return [(0, 0, width // 2, height), (width // 2, 0, width, height)]
    if scene.arrangement == "stacked":
        return [(0, 0, width, height // 2), (0, height // 2, width, height)]
    return [(0, 0, width, height)]


def _background(background: Background, width: int, height: int) -> npt.NDArray[np.uint8]:
    first = np.array(COLOURS[background.colour], np.float32)
    second = np.array(COLOURS[background.second], np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    share: FloatPlane
    if background.kind == "gradient":
        share = (x / width + y / height) / 2
    elif background.kind == "stripes":
        share = ((x // 40) % 2).astype(np.float32)
    elif background.kind == "checks":
        share = ((x // 40 + y // 40) % 2).astype(np.float32)
    elif background.kind == "field":
        share = (y < height * 0.55).astype(np.float32)
    else:
        share = np.zeros_like(x)
    return np.asarray(first + (second - first) * share[..., None]).round().astype(np.uint8)


def _place_group(picture: Image.Image, group: Group, box: tuple[int, int, int, int], rng: np.random.Generator) -> None:
    """Things lie in cells of their region, moved a little, so that none hides another and each can be counted."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    columns = min(group.count, max(1, round(math.sqrt(group.count * width / height))))
    rows = math.ceil(group.count / columns)
    cell_width, cell_height = width / columns, height / rows
    side = int(min(_SIZE[group.size] * min(picture.size), 0.92 * cell_width, 0.92 * cell_height))
    for index in range(group.count):
        spare_x, spare_y = cell_width - side, cell_height - side
        x = left + (index % columns) * cell_width + spare_x * rng.uniform(0.2, 0.8)
        y = top + (index // columns) * cell_height + spare_y * rng.uniform(0.2, 0.8)
        mask = _mask(group.shape, side, float(rng.uniform(-0.2, 0.2)))
        picture.paste(_filling(group, side), (int(x), int(y)), mask)


def _filling(group: Group, side: int) -> Image.Image:
    """A square of the group's colour; its texture is a lighter or darker shade of that colour, never another one."""
    colour = np.array(COLOURS[group.colour], np.float32)
    shade = colour * 0.55 if colour.mean() > 90 else colour + (255 - colour) * 0.45
    y, x = np.mgrid[0:side, 0:side]
    if group.texture == "striped":
        marked = (x + y) % _TEXTURE_PERIOD < _TEXTURE_PERIOD // 2
    elif group.texture == "dotted":
        half = _TEXTURE_PERIOD / 2
        marked = (x % _TEXTURE_PERIOD - half) ** 2 + (y % _TEXTURE_PERIOD - half) ** 2 < half
    else:
        marked = np.zeros((side, side), bool)
    return Image.fromarray(np.where(marked[..., None], shade, colour).round().astype(np.uint8))


def _mask(shape: str, side: int, angle: float) -> Image.Image:
    """The outline of a shape in a square of ``side`` pixels, mode L, edges smoothed."""
    full = side * _SUPERSAMPLE
    mask = Image.new("L", (full, full), 0)
    pen = ImageDraw.Draw(mask)
    if shape in ("circle", "ring"):
        edge = full * 0.05
        pen.ellipse((edge, edge, full - edge, full - edge), fill=255)
        if shape == "ring":
            edge = full * 0.27
            pen.ellipse((edge, edge, full - edge, full - edge), fill=0)
    else:
        points = _turned(_OUTLINES[shape], angle) * (full * 0.47) + full / 2
        pen.polygon([(float(px), float(py)) for px, py in points], fill=255)
    return mask.reduce(_SUPERSAMPLE)


def _turned(points: npt.NDArray[np.float64], angle: float) -> npt.NDArray[np.float64]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]))


def _around(corners: int, radii: tuple[float, ...] = (1.0,), start: float = -0.25) -> npt.NDArray[np.float64]:
    """Points on circles of the given radii in turn, beginning at ``start`` of a full turn (-0.25 is the top)."""
    turns = (np.arange(corners) / corners + start) * 2 * math.pi
    reach = np.resize(np.array(radii), corners)
    return np.stack([np.cos(turns) * reach, np.sin(turns) * reach], axis=1)


def _heart() -> npt.NDArray[np.float64]:
    t = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 17


#: Corners in a circle of radius 1, y downwards.
_OUTLINES: dict[str, npt.NDArray[np.float64]] = {
    "square": _around(4, start=0.125),
    "diamond": _around(4) * np.array([0.62, 1.0]),
    "triangle": _around(3),
    "hexagon": _around(6),
    "star": _around(10, (1.0, 0.42)),
    "heart": _heart(),
    "cross": np.array(
        (
            *((-0.3, -0.9), (0.3, -0.9), (0.3, -0.3), (0.9, -0.3), (0.9, 0.3), (0.3, 0.3)),
            *((0.3, 0.9), (-0.3, 0.9), (-0.3, 0.3), (-0.9, 0.3), (-0.9, -0.3), (-0.3, -0.3)),
        )
    ),
    "arrow": np.array([(-0.9, -0.3), (0.1, -0.3), (0.1, -0.8), (0.95, 0.0), (0.1, 0.8), (0.1, 0.3), (-0.9, 0.3)]),
}


def _lit(picture: Image.Image, light: float, noise: float, rng: np.random.Generator) -> Image.Image:
    """Light from one side and grain: what makes flat drawings as large in bytes, and as unlike, as photographs."""
    pixels = np.asarray(picture, np.float32)
    height, width = pixels.shape[:2]
    slope = np.linspace(-light, light, width, dtype=np.float32) * 24
    pixels = pixels + slope[None, :, None]
    if noise > 0:
        pixels = pixels + rng.normal(0, noise, (height, width, 1)).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
