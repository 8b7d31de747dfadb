"""What a drawn picture shows: one or two groups of coloured things before a background.

A scene holds only what can be seen and said. ``draw.py`` turns it into pixels, ``grammar`` into words; both read
this one description, so that picture and caption always agree. Scene ``number`` of a ``seed`` depends on these two
numbers alone, so that any part of a pool can be made anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from pairmill.pipeline.demo.chance import SCENES, Chance

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
THINGS = (
    *("circle", "square", "triangle", "star", "ring", "cross", "diamond"),
    *("heart", "arrow", "moon", "house", "tree", "fish"),
)
TEXTURES = ("solid", "striped", "dotted")
SIZES = ("small", "large")
BACKGROUNDS = ("plain", "gradient", "field", "stripes", "checks")
#: How the first group lies to the second; ``alone`` where there is no second.
RELATIONS = ("alone", "left_of", "above", "inside")
#: What can hold a thing inside.
HOLDERS = ("circle", "square", "heart", "ring")
MAX_COUNT = 5
_GROUNDS = ("green", "brown", "yellow", "white")
_SKIES = ("blue", "grey", "orange")

_SHORTER_SIDES = (256, 264, 272, 280, 288, 296, 304, 312, 320)
_ASPECTS = (1.0, 1.0, 1.25, 4 / 3, 1.5, 16 / 9)
#: Of so many pictures one is drawn at twice the size, so that a resize has something to do.
_LARGE_ONE_IN = 50
_NOISE_LEVELS = (0, 4, 9)
_QUALITIES = (95, 92, 90, 85, 75, 65)


@dataclass(frozen=True)
class Background:
    """What lies behind the things; ``second`` is the other colour of a gradient, of stripes, checks or the sky."""

    kind: str
    colour: str
    second: str


@dataclass(frozen=True)
class Group:
    """``count`` equal things (1 to 5), laid out as if they were ``room`` (0: as many as there are)."""

    thing: str
    colour: str
    size: str
    texture: str
    count: int
    room: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"a group holds 1 to {MAX_COUNT} things, not {self.count}")
        if self.room and self.room < self.count:
            raise ValueError(f"{self.count} things do not fit where {self.room} are laid out")


@dataclass(frozen=True)
class Scene:
    """Everything that decides the pixels of one picture.

    ``light`` (-1..1) brightens one side of the picture, ``noise`` is the standard deviation of the grain in
    grey levels, ``quality`` that of its JPEG file, ``seed`` places the things and mottles the background.
    """

    width: int
    height: int
    background: Background
    groups: tuple[Group, ...]
    relation: str
    light: float
    noise: int
    quality: int
    seed: int

    def __post_init__(self) -> None:
        if (self.relation == "alone") != (len(self.groups) == 1) or not 1 <= len(self.groups) <= 2:
            raise ValueError(f"{len(self.groups)} groups cannot lie to each other as {self.relation!r}")


def scene_at(seed: int, number: int, stream: int = SCENES) -> Scene:
    """Scene ``number`` (0 to 2**63 - 1) of the world with this ``seed`` (0 to 2**31 - 1)."""
    return random_scene(Chance(seed, stream, number))


def random_scene(chance: Chance) -> Scene:
    """A scene; the next numbers of ``chance`` decide it."""
    background = random_background(chance)
    relation = chance.pick(RELATIONS)
    groups = _holder_and_held(chance, background) if relation == "inside" else _groups(chance, background, relation)
    width, height = _canvas(chance)
    return Scene(
        width=width,
        height=height,
        background=background,
        groups=groups,
        relation=relation,
        light=round(chance.between(-1, 1), 3),
        noise=chance.pick(_NOISE_LEVELS),
        quality=chance.pick(_QUALITIES),
        seed=chance.below(1 << 48),
    )


def random_background(chance: Chance, kinds: tuple[str, ...] = BACKGROUNDS) -> Background:
    """A background of one of the kinds, in two colours."""
    kind = chance.pick(kinds)
    if kind == "field":
        return Background(kind, chance.pick(_GROUNDS), chance.pick(_SKIES))
    colour = chance.pick(tuple(COLOURS))
    return Background(kind, colour, chance.pick(_others(colour)))


@lru_cache(maxsize=1024)
def _others(*taken: str) -> tuple[str, ...]:
    return tuple(name for name in COLOURS if name not in taken)


def _groups(chance: Chance, background: Background, relation: str) -> tuple[Group, ...]:
    """Groups whose colours are not the background's; two of them differ in what they are or in colour."""
    first = _random_group(chance, background)
    if relation == "alone":
        return (first,)
    second = _random_group(chance, background)
    while (second.thing, second.colour) == (first.thing, first.colour):
        second = _random_group(chance, background)
    return first, second


def _random_group(chance: Chance, background: Background) -> Group:
    return Group(
        thing=chance.pick(THINGS),
        colour=chance.pick(_others(background.colour, background.second)),
        size=chance.pick(SIZES),
        texture=chance.pick(TEXTURES),
        count=1 if chance.share() < 0.5 else 2 + chance.below(MAX_COUNT - 1),
    )


def _holder_and_held(chance: Chance, background: Background) -> tuple[Group, ...]:
    """One small thing and the large one around it, in another colour."""
    holder = chance.pick(HOLDERS)
    held = chance.pick(tuple(thing for thing in THINGS if thing != holder))
    outer = chance.pick(_others(background.colour, background.second))
    inner = chance.pick(_others(background.colour, background.second, outer))
    return Group(held, inner, "small", chance.pick(TEXTURES), 1), Group(holder, outer, "large", "solid", 1)


def _canvas(chance: Chance) -> tuple[int, int]:
    """Width and height; all pass the usual image rules (shorter side at least 200, aspect at most 3)."""
    shorter = chance.pick(_SHORTER_SIDES)
    longer = round(shorter * chance.pick(_ASPECTS) / 8) * 8
    scale = 1 if chance.below(_LARGE_ONE_IN) else 2
    upright = chance.share() < 0.5
    return (shorter * scale, longer * scale) if upright else (longer * scale, shorter * scale)


def at_size(scene: Scene, shorter_side: int) -> Scene:
    """The same scene on a canvas whose shorter side has 16 to 512 pixels: drawn faster where that is less.

    Raises ValueError for any other side.
    """
    if not 16 <= shorter_side <= 512:
        raise ValueError(f"a scene cannot be drawn with a shorter side of {shorter_side} pixels; give 16 to 512")
    scale = shorter_side / min(scene.width, scene.height)
    return replace(scene, width=round(scene.width * scale), height=round(scene.height * scale))
