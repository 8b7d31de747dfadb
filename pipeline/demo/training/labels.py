"""What a model is taught of a picture beyond its caption: the scene's facts, and what lies in each patch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pairmill.pipeline.demo.layout import places
from pairmill.pipeline.demo.scene import (
    BACKGROUNDS,
    COLOURS,
    MAX_COUNT,
    RELATIONS,
    SIZES,
    TEXTURES,
    THINGS,
    Group,
    Scene,
)

Labels = npt.NDArray[np.int64]

#: Of a fact that a scene has not; losses leave it out.
NONE = -100
_COLOURS = tuple(COLOURS)
_GROUP = {
    "thing": len(THINGS),
    "colour": len(COLOURS),
    "count": MAX_COUNT,
    "size": len(SIZES),
    "texture": len(TEXTURES),
}
#: Fact → how many values it can have; facts of the second group begin with ``other_``.
FACTS: dict[str, int] = {
    **_GROUP,
    **{f"other_{name}": values for name, values in _GROUP.items()},
    "relation": len(RELATIONS),
    "background": len(BACKGROUNDS),
    "ground": len(COLOURS),
    "second_ground": len(COLOURS),
}
#: The facts that every caption states.
STATED = ("thing", "colour", "count", "other_thing", "other_colour", "other_count", "relation")
#: What is asked of a patch → how many values that can have: the thing and its colour (0: none), and how many
#: things have their middle there.
PATCH_FACTS: dict[str, int] = {"thing": len(THINGS) + 1, "colour": len(COLOURS) + 1, "middles": 3}


def fact_labels(scene: Scene) -> Labels:
    """One number for each of ``FACTS``; ``NONE`` where the scene has no such thing."""
    labels = [label for group in scene.groups for label in _of_group(group)]
    labels += [NONE] * (2 * len(_GROUP) - len(labels))
    background = scene.background
    second = NONE if background.kind == "plain" else _COLOURS.index(background.second)
    labels += [RELATIONS.index(scene.relation), BACKGROUNDS.index(background.kind)]
    return np.array([*labels, _COLOURS.index(background.colour), second])


def _of_group(group: Group) -> list[int]:
    """Many things are made to fit, so that their size says nothing."""
    size = SIZES.index(group.size) if group.count == 1 else NONE
    things = [THINGS.index(group.thing), _COLOURS.index(group.colour), group.count - 1]
    return [*things, size, TEXTURES.index(group.texture)]


def patch_labels(scene: Scene, box: tuple[float, float, float, float], grid: int) -> Labels:
    """What lies at the middle of each patch of a picture that is cut in ``grid`` x ``grid``: (grid * grid, 3).

    ``box`` is the part of the scene that the picture shows, as shares of width and height.
    """
    labels = np.zeros((grid, grid, len(PATCH_FACTS)), np.int64)
    left, top, right, bottom = box
    middles = (np.arange(grid) + 0.5) / grid
    x, y = left + middles * (right - left), top + middles * (bottom - top)
    for group, spots in reversed(tuple(zip(scene.groups, places(scene), strict=True))):
        for spot in spots:
            across = (x * scene.width >= spot.x) & (x * scene.width < spot.x + spot.side)
            down = (y * scene.height >= spot.y) & (y * scene.height < spot.y + spot.side)
            labels[:, :, 0][np.ix_(down, across)] = THINGS.index(group.thing) + 1
            labels[:, :, 1][np.ix_(down, across)] = _COLOURS.index(group.colour) + 1
            column = ((spot.x + spot.side / 2) / scene.width - left) / (right - left) * grid
            row = ((spot.y + spot.side / 2) / scene.height - top) / (bottom - top) * grid
            if 0 <= column < grid and 0 <= row < grid:
                labels[int(row), int(column), 2] = min(labels[int(row), int(column), 2] + 1, 2)
    return labels.reshape(grid * grid, -1)
