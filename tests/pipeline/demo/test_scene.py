from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.pipeline.demo.scene import COLOURS, Background, Group, Scene, random_scene, recoloured

SEEDS = st.integers(0, 2**63 - 1)


@given(SEEDS)
@settings(max_examples=50)
def test_a_scene_is_decided_by_its_seed_and_what_it_shows_can_be_told_apart(seed: int) -> None:
    scene = random_scene(np.random.default_rng(seed))
    assert scene == random_scene(np.random.default_rng(seed))
    assert len({(group.shape, group.colour) for group in scene.groups}) == len(scene.groups)
    behind = {scene.background.colour, scene.background.second}
    assert all(group.colour not in behind for group in scene.groups)
    assert min(scene.width, scene.height) >= 200


@given(SEEDS)
@settings(max_examples=50)
def test_recoloured_keeps_all_but_the_colours(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    other = recoloured(scene, rng)
    assert [(g.shape, g.size, g.texture, g.count) for g in other.groups] == [
        (g.shape, g.size, g.texture, g.count) for g in scene.groups
    ]
    assert (other.seed, other.width, other.height) == (scene.seed, scene.width, scene.height)
    old = {scene.background.colour, scene.background.second, *(g.colour for g in scene.groups)}
    new = {other.background.colour, other.background.second, *(g.colour for g in other.groups)}
    assert not old & new
    assert new <= COLOURS.keys()


def test_a_scene_that_cannot_be_is_refused() -> None:
    group = Group("star", "red", "small", "solid", 1)
    with pytest.raises(ValueError, match="cannot be arranged"):
        Scene(256, 256, Background("plain", "blue", "white"), (group,), "beside", 0.0, 0.0, 1)
    with pytest.raises(ValueError, match="1 to 5 things"):
        Group("star", "red", "small", "solid", 6)
