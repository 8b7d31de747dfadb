"""What a drawn picture shows: one or two groups of coloured shapes before a background.

A scene holds only what can be seen and said. ``draw.py`` turns it into pixels, ``grammar.py`` into words; both
read this one description, so that picture and caption always agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

#: Colour names and their RGB values.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "green": (44, 150, 60),
    "blue": (36, 84, 190),
    "yellow": (240, 205, 40),
    "orange": (245, 130, 30),
    "purple": (130, 60, 170),
    "pink": (240, 140, 190),
    "brown": (120, 75, 40),
    "white": (245, 245, 242),
    "black": (28, 28, 30),
    "grey": (128, 130, 132),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "diamond", "hexagon", "heart", "arrow")
TEXTURES = ("solid", "striped", "dotted")
SIZES = ("small", "large")
BACKGROUNDS = ("plain", "gradient", "stripes", "checks", "field")
#: How two groups lie to each other: the first left of the second, or the first above the second.
ARRANGEMENTS = ("alone", "beside", "stacked")
MAX_COUNT = 5
_GROUNDS = ("green", "brown", "yellow", "white")
_SKIES = ("blue", "grey", "orange")

#: Width and height in pixels. All pass the usual image rules (shorter side at least 200, aspect at most 3); the
#: larger ones are above 512, so that a resize has something to do.
CANVASES = ((256, 256), (320, 240), (240, 320), (300, 300), (400, 300), (300, 400), (480, 270), (640, 480))
NOISE_LEVELS = (0.0, 4.0, 9.0)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Background:
    """What lies behind the shapes; ``second`` is the other colour of a gradient, of stripes, checks or the sky."""

    kind: str
    colour: str
    second: str


@dataclass(frozen=True)
class Group:
    """``count`` equal things (1 to 5)."""

    shape: str
    colour: str
    size: str
    texture: str
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"a group holds 1 to {MAX_COUNT} things, not {self.count}")


@dataclass(frozen=True)
class Scene:
    """Everything that decides the pixels of one picture.

    ``light`` (-1..1) brightens one side of the picture, ``noise`` is the standard deviation of the grain in
    grey levels, ``seed`` places the things and draws the grain.
    """

    width: int
    height: int
    background: Background
    groups: tuple[Group, ...]
    arrangement: str
    light: float
    noise: float
    seed: int

    def __post_init__(self) -> None:
        if (self.arrangement == "alone") != (len(self.groups) == 1) or not 1 <= len(self.groups) <= 2:
            raise ValueError(f"{len(self.groups)} groups cannot be arranged as {self.arrangement!r}")


def _pick(rng: np.random.Generator, items: tuple[Item, ...] | list[Item]) -> Item:
    return items[int(rng.integers(len(items)))]


def _random_background(rng: np.random.Generator) -> Background:
    kind = _pick(rng, BACKGROUNDS)
    if kind == "field":
        return Background(kind, _pick(rng, _GROUNDS), _pick(rng, _SKIES))
    colour = _pick(rng, list(COLOURS))
    return Background(kind, colour, _pick(rng, [name for name in COLOURS if name != colour]))


def _random_group(rng: np.random.Generator, taken: set[tuple[str, str]], hidden: set[str]) -> Group:
    """A group whose colour is not the background's and whose (shape, colour) is new in the scene."""
    colours = [name for name in COLOURS if name not in hidden]
    while True:
        shape, colour = _pick(rng, SHAPES), _pick(rng, colours)
        if (shape, colour) not in taken:
            break
    count = 1 if rng.random() < 0.5 else int(rng.integers(2, MAX_COUNT + 1))
    return Group(shape, colour, _pick(rng, SIZES), _pick(rng, TEXTURES), count)


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene drawn from ``rng``; the same state of ``rng`` gives the same scene."""
    background = _random_background(rng)
    hidden = {background.colour, background.second}
    arrangement = _pick(rng, ARRANGEMENTS)
    groups: list[Group] = []
    for _ in range(1 if arrangement == "alone" else 2):
        groups.append(_random_group(rng, {(g.shape, g.colour) for g in groups}, hidden))
    width, height = _pick(rng, CANVASES)
    return Scene(
        width=width,
        height=height,
        background=background,
        groups=tuple(groups),
        arrangement=arrangement,
        light=float(np.round(rng.uniform(-1, 1), 3)),
        noise=_pick(rng, NOISE_LEVELS),
        seed=int(rng.integers(1 << 31)),
    )


def recoloured(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same scene with every colour of its things and its background exchanged: same outlines, another picture."""
    names = list(COLOURS)
    used = {scene.background.colour, scene.background.second} | {group.colour for group in scene.groups}
    fresh = [names[i] for i in rng.permutation(len(names)) if names[i] not in used]
    swap = dict(zip(sorted(used), fresh, strict=False))
    background = scene.background
    return replace(
        scene,
        background=replace(background, colour=swap[background.colour], second=swap[background.second]),
        groups=tuple(replace(group, colour=swap[group.colour]) for group in scene.groups),
    )
