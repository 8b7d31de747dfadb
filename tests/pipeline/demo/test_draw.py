from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.scene import COLOURS, SHAPES, Background, Group, Scene, random_scene


def scene_of(*groups: Group, arrangement: str = "alone", kind: str = "plain") -> Scene:
    return Scene(256, 256, Background(kind, "white", "grey"), groups, arrangement, 0.0, 0.0, 5)


def share_of(pixels: np.ndarray, colour: str) -> float:
    return float((np.abs(pixels.astype(int) - COLOURS[colour]).max(axis=-1) < 12).mean())


@pytest.mark.parametrize("seed", range(8))
def test_the_same_scene_gives_the_same_pixels(seed: int) -> None:
    scene = random_scene(np.random.default_rng(seed))
    first, second = draw_scene(scene), draw_scene(scene)
    assert first.mode == "RGB"
    assert first.size == (scene.width, scene.height)
    assert first.tobytes() == second.tobytes()
    moved = draw_scene(replace(scene, seed=scene.seed ^ 1))
    assert moved.tobytes() != first.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_seen_in_its_colour_and_size(shape: str) -> None:
    large = np.asarray(draw_scene(scene_of(Group(shape, "red", "large", "solid", 1))))
    small = np.asarray(draw_scene(scene_of(Group(shape, "red", "small", "solid", 1))))
    assert 0.03 < share_of(large, "red") < 0.2
    assert 0.15 < share_of(small, "red") / share_of(large, "red") < 0.3
    assert share_of(large, "white") > 0.7


def test_no_two_shapes_look_the_same() -> None:
    drawn = [draw_scene(scene_of(Group(shape, "red", "large", "solid", 1))).tobytes() for shape in SHAPES]
    assert len(set(drawn)) == len(SHAPES)


@pytest.mark.parametrize("count", range(1, 6))
def test_things_can_be_counted(count: int) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = np.asarray(draw_scene(scene_of(Group("square", "blue", "small", "solid", count))))
    mask = (np.abs(pixels.astype(int) - COLOURS["blue"]).max(axis=-1) < 40).astype(np.uint8)
    assert cv2.connectedComponents(mask)[0] - 1 == count


@pytest.mark.parametrize(("arrangement", "axis"), [("beside", 1), ("stacked", 0)])
def test_groups_lie_as_the_arrangement_says(arrangement: str, axis: int) -> None:
    groups = (Group("circle", "red", "large", "solid", 1), Group("star", "blue", "large", "solid", 1))
    pixels = np.asarray(draw_scene(scene_of(*groups, arrangement=arrangement))).astype(int)
    where = [np.argwhere(np.abs(pixels - COLOURS[name]).max(axis=-1) < 12)[:, axis] for name in ("red", "blue")]
    assert where[0].max() < 134
    assert where[1].min() > 122


def test_textures_are_shades_of_the_colour() -> None:
    solid, striped, dotted = (
        np.asarray(draw_scene(scene_of(Group("square", "green", "large", texture, 1))))
        for texture in ("solid", "striped", "dotted")
    )
    assert share_of(striped, "green") == pytest.approx(share_of(solid, "green") / 2, rel=0.2)
    assert share_of(solid, "green") * 0.5 < share_of(dotted, "green") < share_of(solid, "green")


def test_backgrounds_have_both_colours() -> None:
    thing = Group("circle", "red", "small", "solid", 1)
    for kind in ("stripes", "checks", "field"):
        pixels = np.asarray(draw_scene(scene_of(thing, kind=kind)))
        assert min(share_of(pixels, "white"), share_of(pixels, "grey")) > 0.3, kind
    plain = np.asarray(draw_scene(scene_of(thing)))
    assert share_of(plain, "grey") == 0
