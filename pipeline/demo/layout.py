"""Where the things of a scene lie: what a caption says of left, above and inside is decided here."""

from __future__ import annotations

import math
from typing import NamedTuple

from pairmill.pipeline.demo.chance import PLACES, Chance
from pairmill.pipeline.demo.scene import Group, Scene

#: Side of a thing as a share of the picture's shorter side; many things in one region are made to fit.
SIDES = {"small": 0.28, "large": 0.46}
_HOLDER_SIDE, _HELD_SIDE = 0.8, 0.34
_MOST_OF_CELL = 0.92
#: Where a holder's inside is, below its middle, as a share of its side.
_INSIDE = {"heart": -0.1}


class Place(NamedTuple):
    """A square for one thing: left, top and side in pixels, and by how much the thing is turned, in radians."""

    x: float
    y: float
    side: float
    angle: float


def places(scene: Scene) -> tuple[tuple[Place, ...], ...]:
    """The places of all things, group by group, none on another but for a thing inside its holder."""
    chance = Chance(scene.seed, PLACES)
    if scene.relation == "inside":
        return _inside(scene, chance)
    return tuple(_grid(scene, group, box, chance) for group, box in zip(scene.groups, _regions(scene), strict=True))


def _regions(scene: Scene) -> list[tuple[float, float, float, float]]:
    """One box (left, top, width, height) a group."""
    width, height = scene.width, scene.height
    if scene.relation == "left_of":
        return [(0, 0, width / 2, height), (width / 2, 0, width / 2, height)]
    if scene.relation == "above":
        return [(0, 0, width, height / 2), (0, height / 2, width, height / 2)]
    return [(0, 0, width, height)]


def _grid(scene: Scene, group: Group, box: tuple[float, float, float, float], chance: Chance) -> tuple[Place, ...]:
    """Things lie in cells of their region, moved a little, so that none hides another and each can be counted."""
    left, top, width, height = box
    room = group.room or group.count
    columns = min(room, max(1, round(math.sqrt(room * width / height))))
    rows = math.ceil(room / columns)
    cell_width, cell_height = width / columns, height / rows
    side = min(
        SIDES[group.size] * min(scene.width, scene.height), _MOST_OF_CELL * cell_width, _MOST_OF_CELL * cell_height
    )
    found = []
    for index in range(group.count):
        x = left + (index % columns) * cell_width + (cell_width - side) * chance.between(0.2, 0.8)
        y = top + (index // columns) * cell_height + (cell_height - side) * chance.between(0.2, 0.8)
        found.append(Place(x, y, side, chance.between(-0.2, 0.2)))
    return tuple(found)


def _inside(scene: Scene, chance: Chance) -> tuple[tuple[Place, ...], ...]:
    shorter = min(scene.width, scene.height)
    outer, inner = shorter * _HOLDER_SIDE, shorter * _HELD_SIDE
    x = (scene.width - outer) * chance.between(0.1, 0.9)
    y = (scene.height - outer) * chance.between(0.1, 0.9)
    held_x = x + (outer - inner) / 2
    held_y = y + (outer - inner) / 2 + outer * _INSIDE.get(scene.groups[1].thing, 0.0)
    return (
        (Place(held_x, held_y, inner, chance.between(-0.2, 0.2)),),
        (Place(x, y, outer, chance.between(-0.1, 0.1)),),
    )
