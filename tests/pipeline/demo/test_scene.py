from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.pipeline.demo.chance import EVALUATION, MAX_SEED, SCENES, Chance
from pairmill.pipeline.demo.scene import (
    COLOURS,
    HOLDERS,
    RELATIONS,
    THINGS,
    Background,
    Group,
    Scene,
    at_size,
    random_scene,
    scene_at,
)

SEEDS = st.integers(0, MAX_SEED)
NUMBERS = st.integers(0, 2**63 - 1)


@given(SEEDS, NUMBERS)
@settings(max_examples=100)
def test_a_scene_is_decided_by_its_numbers_and_what_it_shows_can_be_told_apart(seed: int, number: int) -> None:
    scene = scene_at(seed, number)
    assert scene == random_scene(Chance(seed, SCENES, number))
    assert len({(group.thing, group.colour) for group in scene.groups}) == len(scene.groups)
    behind = {scene.background.colour, scene.background.second}
    assert all(group.colour not in behind for group in scene.groups)
    assert min(scene.width, scene.height) >= 200
    assert max(scene.width, scene.height) <= 3 * min(scene.width, scene.height)
    if scene.relation == "inside":
        assert [group.count for group in scene.groups] == [1, 1]
        assert scene.groups[1].thing in HOLDERS
        assert scene.groups[0].colour != scene.groups[1].colour


def test_scenes_of_other_numbers_seeds_and_streams_are_others() -> None:
    scenes = [scene_at(seed, number) for seed in (0, 1, 2) for number in range(400)]
    scenes += [scene_at(0, number, EVALUATION) for number in range(400)]
    assert len({scene.seed for scene in scenes}) == len(scenes)
    shown = {(group.thing, group.colour, group.count) for scene in scenes for group in scene.groups}
    assert {thing for thing, _, _ in shown} == set(THINGS)
    assert {colour for _, colour, _ in shown} == set(COLOURS)
    assert {scene.relation for scene in scenes} == set(RELATIONS)
    assert len(shown) > 400


SAY = """
import hashlib
from pairmill.pipeline.demo.scene import scene_at
print(hashlib.sha256(repr([scene_at(7, n) for n in range(500)]).encode()).hexdigest())
"""


def test_another_process_has_the_same_scenes() -> None:
    here = hashlib.sha256(repr([scene_at(7, n) for n in range(500)]).encode()).hexdigest()
    there = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_a_scene_can_be_smaller() -> None:
    scene = Scene(300, 400, Background("plain", "blue", "white"), (GROUP,), "alone", 0.0, 0, 90, 1)
    assert (at_size(scene, 96).width, at_size(scene, 96).height) == (96, 128)
    for side in (15, 513):
        with pytest.raises(ValueError, match="give 16 to 512"):
            at_size(scene, side)


GROUP = Group("star", "red", "small", "solid", 1)


def test_a_scene_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot lie to each other as 'left_of'"):
        Scene(256, 256, Background("plain", "blue", "white"), (GROUP,), "left_of", 0.0, 0, 90, 1)
    with pytest.raises(ValueError, match="1 to 5 things"):
        Group("star", "red", "small", "solid", 6)
    with pytest.raises(ValueError, match="3 things do not fit where 2 are laid out"):
        Group("star", "red", "small", "solid", 3, room=2)
