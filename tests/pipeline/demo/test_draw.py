from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.outlines import AREAS, REACH
from pairmill.pipeline.demo.scene import BACKGROUNDS, COLOURS, THINGS, Background, Group, Scene, at_size, scene_at


def scene_of(*groups: Group, relation: str = "alone", kind: str = "plain") -> Scene:
    return Scene(256, 256, Background(kind, "white", "green"), groups, relation, 0.0, 0, 90, 5)


def near(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Where the colour is, in any light."""
    names = ("white", "green", "red", "blue", "orange")
    apart = [pixels.astype(np.int16) - np.array(COLOURS[name], np.int16) for name in names]
    # Light moves all three channels together, another colour does not.
    cost = [np.abs(away).max(axis=-1) // 5 + away.max(axis=-1) - away.min(axis=-1) for away in apart]
    return np.asarray(np.stack(cost).argmin(axis=0) == names.index(colour))


@pytest.mark.parametrize("number", range(12))
def test_the_same_scene_gives_the_same_pixels(number: int) -> None:
    scene = scene_at(4, number)
    first, second = draw_scene(scene), draw_scene(scene)
    assert first.dtype == np.uint8
    assert first.shape == (scene.height, scene.width, 3)
    assert np.array_equal(first, second)
    assert not np.array_equal(draw_scene(replace(scene, seed=scene.seed ^ 1)), first)


DRAW = """
import hashlib
from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.scene import scene_at
print(hashlib.sha256(b"".join(draw_scene(scene_at(9, n)).tobytes() for n in (5, 3, 4))).hexdigest())
"""


def test_another_process_draws_the_same_in_any_order() -> None:
    drawn = {n: draw_scene(scene_at(9, n)).tobytes() for n in (3, 4, 5)}
    there = subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha256(drawn[5] + drawn[3] + drawn[4]).hexdigest()


@pytest.mark.parametrize("thing", THINGS)
def test_each_thing_is_seen_in_its_colour_and_size(thing: str) -> None:
    for size, share in (("large", 0.46), ("small", 0.28)):
        pixels = draw_scene(scene_of(Group(thing, "blue", size, "solid", 1)))
        assert near(pixels, "blue").mean() == pytest.approx(AREAS[thing] * (2 * REACH * share) ** 2, rel=0.15)


def test_no_two_things_look_the_same() -> None:
    drawn = {
        near(draw_scene(scene_of(Group(thing, "blue", "large", "solid", 1))), "blue").tobytes() for thing in THINGS
    }
    assert len(drawn) == len(THINGS)


@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("thing", ["square", "fish", "moon"])
def test_things_can_be_counted(thing: str, count: int) -> None:
    mask = near(draw_scene(scene_of(Group(thing, "blue", "small", "solid", count))), "blue").astype(np.uint8)
    _, _, found, _ = cv2.connectedComponentsWithStats(mask)
    assert (found[1:, cv2.CC_STAT_AREA] > 50).sum() == count


@pytest.mark.parametrize(("relation", "axis"), [("left_of", 1), ("above", 0)])
def test_groups_lie_as_the_relation_says(relation: str, axis: int) -> None:
    groups = (Group("circle", "red", "large", "solid", 1), Group("star", "blue", "large", "solid", 1))
    pixels = draw_scene(scene_of(*groups, relation=relation))
    first, second = (np.argwhere(near(pixels, name))[:, axis] for name in ("red", "blue"))
    assert np.percentile(first, 99) < 130 < np.percentile(second, 1)


def test_what_is_inside_is_before_its_holder() -> None:
    groups = (Group("star", "red", "small", "solid", 1), Group("circle", "blue", "large", "solid", 1))
    pixels = draw_scene(scene_of(*groups, relation="inside"))
    held, holder = near(pixels, "red"), near(pixels, "blue")
    assert held.sum() > 1000
    assert holder.sum() > 8 * held.sum()
    top, left = np.argwhere(holder).min(axis=0)
    bottom, right = np.argwhere(holder).max(axis=0)
    inner = np.argwhere(held)
    assert (inner.min(axis=0) > (top, left)).all()
    assert (inner.max(axis=0) < (bottom, right)).all()


def test_textures_are_shades_of_the_colour() -> None:
    drawn = {
        texture: draw_scene(scene_of(Group("square", "orange", "large", texture, 1)))
        for texture in ("solid", "striped", "dotted")
    }
    assert len({pixels.tobytes() for pixels in drawn.values()}) == 3
    inside = [pixels[near(drawn["solid"], "orange")].mean(axis=0) for pixels in drawn.values()]
    for mean in inside[1:]:
        hue = mean / mean.sum()
        assert np.abs(hue - inside[0] / inside[0].sum()).max() < 0.05


def test_backgrounds_have_their_colours() -> None:
    thing = Group("circle", "red", "small", "solid", 1)
    for kind in BACKGROUNDS:
        pixels = draw_scene(scene_of(thing, kind=kind))
        share = near(pixels, "green").mean()
        assert share == 0 if kind == "plain" else share > 0.15, kind


def test_grain_and_light_are_as_asked() -> None:
    plain = Scene(
        320,
        256,
        Background("plain", "grey", "white"),
        (Group("star", "red", "small", "solid", 1),),
        "alone",
        0.0,
        0,
        90,
        8,
    )
    even = draw_scene(plain).astype(int)
    grained = draw_scene(replace(plain, noise=9)).astype(int) - even
    assert abs(grained.mean()) < 0.3
    assert grained.std() == pytest.approx(9, rel=0.1)
    lit = draw_scene(replace(plain, light=1.0)).astype(int) - even
    assert lit[:, :20].mean() < -10
    assert lit[:, -20:].mean() > 10


def test_every_canvas_can_be_drawn_also_smaller() -> None:
    sizes = {(scene.width, scene.height): scene for scene in (scene_at(0, n) for n in range(3000)) if scene.noise}
    largest = max(sizes)
    assert largest[0] > 1000
    assert draw_scene(sizes[largest]).shape[1] == largest[0]
    small = at_size(sizes[largest], 64)
    assert min(draw_scene(small).shape[:2]) == 64
