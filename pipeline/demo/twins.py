"""Scenes that differ in one colour or one count alone, and so much that they are no near duplicates.

A near duplicate has 8 x 8 thumbnails at most 8 grey levels apart; between twins they are at least 11.
"""

from __future__ import annotations

from dataclasses import replace

from pairmill.pipeline.demo.chance import TWINS, Chance
from pairmill.pipeline.demo.layout import places
from pairmill.pipeline.demo.outlines import AREAS, REACH
from pairmill.pipeline.demo.scene import COLOURS, THINGS, Background, Group, Scene, random_background, random_scene

_LEVELS = 11.0


def roomy_scene(seed: int, number: int) -> Scene:
    """A scene of two to four large things, whose twins are seen as other pictures; it depends on its two numbers."""
    return _family(seed, number)[0]


def recoloured_scene(seed: int, number: int) -> Scene:
    """The roomy scene with its things in another colour."""
    scene, colour = _family(seed, number)
    return replace(scene, groups=(replace(scene.groups[0], colour=colour),))


def recounted_scene(seed: int, number: int) -> Scene:
    """The roomy scene with one thing fewer, the others where they were."""
    scene, _ = _family(seed, number)
    group = scene.groups[0]
    return replace(scene, groups=(replace(group, count=group.count - 1, room=group.count),))


def _family(seed: int, number: int) -> tuple[Scene, str]:
    """The roomy scene and the colour of its twin."""
    chance = Chance(seed, TWINS, number)
    canvas = random_scene(chance)
    side = min(canvas.width, canvas.height)
    longer = side if chance.share() < 0.5 else side * 5 // 4
    while True:
        background = random_background(chance, ("plain", "field"))
        behind = (background.colour, background.second) if background.kind == "field" else (background.colour,)
        free = [name for name in COLOURS if name not in (background.colour, background.second)]
        group = Group(chance.pick(THINGS), chance.pick(free), "large", "solid", 2 + chance.below(3))
        least = _LEVELS / (AREAS[group.thing] * _SHARES[group.count])
        if any(_APART[group.colour, name] < least for name in behind):
            continue
        others = [name for name in free if _APART[group.colour, name] * group.count >= least]
        if others:
            canvas = replace(canvas, background=background, groups=(group,), relation="alone")
            return replace(canvas, width=side, height=longer), chance.pick(others)


def _share_of_one(count: int) -> float:
    """The least share of the picture that the square of one of so many things takes, on the longest canvas here."""
    group = Group("square", "red", "large", "solid", count)
    scene = Scene(256, 320, Background("plain", "blue", "white"), (group,), "alone", 0.0, 0, 90, 0)
    side = places(scene)[0][0].side * 2 * REACH
    return side * side / (scene.width * scene.height)


_SHARES = {count: _share_of_one(count) for count in (2, 3, 4)}
#: Mean difference of two colours, in grey levels.
_APART = {
    (one, other): sum(abs(a - b) for a, b in zip(first, second, strict=True)) / 3
    for one, first in COLOURS.items()
    for other, second in COLOURS.items()
}
