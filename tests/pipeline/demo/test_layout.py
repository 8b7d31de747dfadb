from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.pipeline.demo.layout import Place, places
from pairmill.pipeline.demo.outlines import AREAS, OUTLINES
from pairmill.pipeline.demo.scene import COLOURS, HOLDERS, THINGS, Scene, scene_at

NUMBERS = st.integers(0, 2**40)


def middle(spots: tuple[Place, ...], axis: int) -> float:
    return sum(spot[axis] + spot.side / 2 for spot in spots) / len(spots)


def apart(one: Place, other: Place) -> bool:
    reach = (one.side + other.side) / 2 - 1e-6
    x, y = middle((one,), 0) - middle((other,), 0), middle((one,), 1) - middle((other,), 1)
    return abs(x) >= reach or abs(y) >= reach


@given(NUMBERS)
@settings(max_examples=200)
def test_things_are_in_the_picture_and_none_hides_another(number: int) -> None:
    scene = scene_at(1, number)
    found = places(scene)
    assert [len(spots) for spots in found] == [group.count for group in scene.groups]
    every = [spot for spots in found for spot in spots]
    for spot in every:
        assert min(spot.x, spot.y) >= 0
        assert spot.x + spot.side <= scene.width + 1e-6
        assert spot.y + spot.side <= scene.height + 1e-6
        assert spot.side >= 25
    if scene.relation != "inside":
        assert all(apart(one, other) for i, one in enumerate(every) for other in every[:i])


@given(NUMBERS)
@settings(max_examples=200)
def test_groups_lie_as_the_relation_says(number: int) -> None:
    scene = scene_at(2, number)
    if scene.relation == "alone":
        return
    first, second = places(scene)
    if scene.relation == "inside":
        assert second[0].side > 2 * first[0].side
        assert abs(middle(first, 0) - middle(second, 0)) < 0.01 * second[0].side
        return
    axis = 0 if scene.relation == "left_of" else 1
    assert max(spot[axis] + spot.side for spot in first) <= min(spot[axis] for spot in second) + 1e-6


def test_one_thing_fewer_leaves_the_others_where_they_were() -> None:
    scene = next(scene_at(0, n) for n in range(100) if scene_at(0, n).groups[0].count == 4)
    group = scene.groups[0]
    fewer = replace(scene, groups=(replace(group, count=3, room=4), *scene.groups[1:]))
    assert places(fewer)[0] == places(scene)[0][:3]


def test_every_thing_has_an_outline_within_its_circle() -> None:
    assert set(OUTLINES) == set(THINGS) == set(AREAS)
    for name, contours in OUTLINES.items():
        assert max(float((points**2).sum(axis=1).max()) for points in contours) <= 1.25, name
        assert 0.15 < AREAS[name] < 0.8, name
    assert set(HOLDERS) <= set(THINGS)
    assert isinstance(scene_at(0, 0), Scene)
    assert len(COLOURS) == 11
