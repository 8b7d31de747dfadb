"""The outlines of the things that can be drawn: polygons within a circle of radius 1, y downwards."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


def _around(corners: int, radii: tuple[float, ...] = (1.0,), start: float = -0.25) -> Points:
    """Points on circles of the given radii in turn, beginning at ``start`` of a full turn (-0.25 is the top)."""
    turns = (np.arange(corners) / corners + start) * 2 * math.pi
    reach = np.resize(np.array(radii), corners)
    return np.stack([np.cos(turns) * reach, np.sin(turns) * reach], axis=1)


def _points(*corners: tuple[float, float]) -> Points:
    return np.array(corners, dtype=np.float64)


def _heart() -> Points:
    t = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 17


def _moon() -> Points:
    """A crescent, open to the right: a circle without a smaller one beside its middle."""
    aside, radius = 0.45, 0.8
    tip_x = (1 - radius**2 + aside**2) / (2 * aside)
    tip_y = math.sqrt(1 - tip_x**2)
    start, back = math.atan2(tip_y, tip_x), math.atan2(tip_y, tip_x - aside)
    t = np.linspace(start, 2 * math.pi - start, 30)
    s = np.linspace(2 * math.pi - back, back, 24)
    outer = np.stack([np.cos(t), np.sin(t)], axis=1)
    inner = np.stack([aside + radius * np.cos(s), radius * np.sin(s)], axis=1)
    return np.concatenate([outer, inner]) + np.array([0.12, 0.0])


def _fish() -> Points:
    t = np.linspace(0.06, 0.94, 30) * 2 * math.pi
    body = np.stack([-0.28 + np.cos(t) * 0.7, np.sin(t) * 0.5], axis=1)
    return np.concatenate([body, _points((0.95, -0.55), (0.75, 0.0), (0.95, 0.55))])


_CROSS = _points(
    *((-0.3, -0.9), (0.3, -0.9), (0.3, -0.3), (0.9, -0.3), (0.9, 0.3), (0.3, 0.3)),
    *((0.3, 0.9), (-0.3, 0.9), (-0.3, 0.3), (-0.9, 0.3), (-0.9, -0.3), (-0.3, -0.3)),
)
_HOUSE = _points(
    *((-0.62, 0.8), (-0.62, -0.1), (-0.9, -0.1), (0.0, -0.9), (0.9, -0.1)),
    *((0.62, -0.1), (0.62, 0.8), (0.2, 0.8), (0.2, 0.25), (-0.2, 0.25), (-0.2, 0.8)),
)
_TREE = _points(
    *((0.0, -0.98), (0.5, -0.35), (0.28, -0.35), (0.75, 0.4), (0.15, 0.4)),
    *((0.15, 0.9), (-0.15, 0.9), (-0.15, 0.4), (-0.75, 0.4), (-0.28, -0.35), (-0.5, -0.35)),
)
_ARROW = _points((-0.9, -0.3), (0.1, -0.3), (0.1, -0.8), (0.95, 0.0), (0.1, 0.8), (0.1, 0.3), (-0.9, 0.3))

#: Radius of an outline as a share of the side of its place.
REACH = 0.47

#: Thing → its contours; what lies in two of them is a hole.
OUTLINES: dict[str, tuple[Points, ...]] = {
    "circle": (_around(48),),
    "square": (_around(4, start=0.125),),
    "triangle": (_around(3),),
    "star": (_around(10, (1.0, 0.42)),),
    "ring": (_around(48), _around(40, (0.58,))),
    "cross": (_CROSS,),
    "diamond": (_around(4) * np.array([0.6, 1.0]),),
    "heart": (_heart(),),
    "arrow": (_ARROW,),
    "moon": (_moon(),),
    "house": (_HOUSE,),
    "tree": (_TREE,),
    "fish": (_fish(),),
}


def turned(points: Points, angle: float) -> Points:
    """The points turned around (0, 0) by ``angle`` radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]))


def _area(points: Points) -> float:
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


#: Thing → its area as a share of the square of side 2 around it.
AREAS: dict[str, float] = {
    name: (_area(contours[0]) - sum(_area(hole) for hole in contours[1:])) / 4 for name, contours in OUTLINES.items()
}
