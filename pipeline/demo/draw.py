"""From a scene to pixels, with OpenCV and numpy; the same scene gives the same pixels.

Some 2 ms a picture of 300 to 400 pixels: edges are smoothed by the polygon filler and not by drawing larger, and
grain is cut from one sheet. Light, grain and mottling are whole grey levels, so that no rounding differs by machine.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

from pairmill.pipeline.demo.chance import PIXELS, Chance
from pairmill.pipeline.demo.layout import Place, places
from pairmill.pipeline.demo.outlines import OUTLINES, REACH, turned
from pairmill.pipeline.demo.scene import COLOURS, Background, Group, Scene

Pixels = npt.NDArray[np.uint8]

_STRIPES = 7  # background stripes along the shorter side
_MARKS = 20  # marks of a thing's texture along the shorter side of the picture: they survive a resize and JPEG
_LIGHT = 18  # grey levels by which the lit side is brighter
_MOTTLE = 32  # grey levels by which a background is mottled
#: Knots of the mottling along each side. As many as a perceptual hash has waves, so that each of its bits is decided by
#: something: with 6 of them ten times as many copies have another hash, and some pictures that are no copies the same.
_KNOTS = 8
_EVEN = 128  # in a plane of light: neither brighter nor darker
_SHEET = 1280
_FINE = 4  # binary places of a polygon's corners


def draw_scene(scene: Scene) -> Pixels:
    """The picture of a scene: RGB, uint8 of shape (``scene.height``, ``scene.width``, 3)."""
    chance = Chance(scene.seed, PIXELS)
    canvas = _background(scene.background, scene.width, scene.height)
    light = _mottling(scene, chance)
    for group, spots in reversed(tuple(zip(scene.groups, places(scene), strict=True))):
        for spot in spots:
            _paint(canvas, light, group, spot, round(min(scene.width, scene.height) / _MARKS))
    slope = np.rint(np.linspace(-_LIGHT, _LIGHT, scene.width) * scene.light).astype(np.int8)
    light += slope.view(np.uint8)  # modulo 256, as negative numbers are
    if scene.noise:
        light += _grain(scene, chance)
    brighter, darker = cv2.subtract(light, _EVEN), cv2.subtract(_EVEN, light)
    return np.asarray(cv2.subtract(cv2.add(canvas, cv2.merge([brighter] * 3)), cv2.merge([darker] * 3)), np.uint8)


def _background(background: Background, width: int, height: int) -> Pixels:
    colours = np.array([COLOURS[background.colour], COLOURS[background.second]], np.uint8)
    period = min(width, height) / _STRIPES
    across = (np.arange(width) // period % 2).astype(np.uint8)
    if background.kind == "gradient":
        return _gradient(colours, width, height)
    if background.kind == "checks":
        down = (np.arange(height) // period % 2).astype(np.uint8)
        return np.stack([colours[across], colours[1 - across]])[down]
    if background.kind == "field":
        down = (np.arange(height) < height * 0.55).astype(np.uint8)
        return np.repeat(colours[down][:, None], width, axis=1)
    row = colours[across] if background.kind == "stripes" else np.repeat(colours[:1], width, axis=0)
    return np.repeat(row[None], height, axis=0)


def _gradient(colours: Pixels, width: int, height: int) -> Pixels:
    """From the first colour at the upper left to the second at the lower right."""
    first, step = colours[0].astype(np.int32), colours[1].astype(np.int32) - colours[0]
    # In 64ths of a level, which fit 16 bits.
    x = (step * np.arange(width)[:, None] * 32 // width).astype(np.int16)
    y = (first * 64 + step * np.arange(height)[:, None] * 32 // height).astype(np.int16)
    return ((y[:, None] + x) >> 6).astype(np.uint8)


def _mottling(scene: Scene, chance: Chance) -> Pixels:
    """A plane of soft light and shade, another one in each picture: no two backgrounds are alike."""
    knots = [_EVEN - _MOTTLE + chance.below(2 * _MOTTLE + 1) for _ in range(_KNOTS * _KNOTS)]
    small = np.array(knots, np.uint8).reshape(_KNOTS, _KNOTS)
    return np.asarray(cv2.resize(small, (scene.width, scene.height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _paint(canvas: Pixels, light: Pixels, group: Group, spot: Place, period: int) -> None:
    """One thing at its place, and even light on it."""
    left, top = int(spot.x), int(spot.y)
    area = (slice(top, top + round(spot.side) + 2), slice(left, left + round(spot.side) + 2))
    part = canvas[area]
    height, width = part.shape[:2]
    middle = np.array([spot.x - left, spot.y - top]) + spot.side / 2
    contours = [turned(points, spot.angle) * (spot.side * REACH) + middle for points in OUTLINES[group.thing]]
    corners = [np.rint(points * (1 << _FINE)).astype(np.int32) for points in contours]
    cover = np.zeros((height, width), np.uint8)
    cv2.fillPoly(cover, corners, 255, cv2.LINE_AA, _FINE)
    covers = cv2.merge([cover] * 3)
    behind = cv2.multiply(part, cv2.bitwise_not(covers), scale=1 / 255)
    before = cv2.multiply(_filling(group, height, width, period), covers, scale=1 / 255)
    canvas[area] = cv2.add(behind, before)


def _filling(group: Group, height: int, width: int, period: int) -> Pixels:
    """A rectangle of one colour; its texture is a lighter or darker shade of that colour, never another one."""
    if group.texture == "solid":
        return np.full((height, width, 3), COLOURS[group.colour], np.uint8)
    marks = _marks(group.texture, period)
    tiles = np.tile(marks, (height // period + 1, width // period + 1))[:height, :width]
    return _shades(group.colour)[tiles]


@functools.lru_cache(maxsize=len(COLOURS))
def _shades(colour: str) -> Pixels:
    """The colour and its shade."""
    plain = np.array(COLOURS[colour])
    shade = plain * 0.68 if plain.mean() > 90 else plain + (255 - plain) * 0.4
    return np.rint(np.stack([plain, shade])).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _marks(texture: str, period: int) -> Pixels:
    """One tile of a texture: 1 where it is marked."""
    y, x = np.mgrid[0:period, 0:period]
    if texture == "striped":
        return ((x + y) % period < period / 2).astype(np.uint8)
    half = (period - 1) / 2
    return ((x - half) ** 2 + (y - half) ** 2 < (period * 0.3) ** 2).astype(np.uint8)


def _grain(scene: Scene, chance: Chance) -> Pixels:
    """Grain in grey levels, modulo 256, from somewhere on its sheet."""
    top, left = chance.below(_SHEET - scene.height + 1), chance.below(_SHEET - scene.width + 1)
    return _sheet(scene.noise)[top : top + scene.height, left : left + scene.width]


@functools.lru_cache(maxsize=4)
def _sheet(deviation: int) -> Pixels:
    """Grain of this standard deviation; a sum of two even numbers, since their sequence never changes with numpy."""
    raw = np.random.PCG64(0).random_raw(_SHEET * _SHEET // 2).view(np.uint16).reshape(2, _SHEET, _SHEET)
    even = raw.astype(np.float64) / 65535 - 0.5
    return np.rint(even.sum(axis=0) * 6**0.5 * deviation).astype(np.int8).view(np.uint8)
