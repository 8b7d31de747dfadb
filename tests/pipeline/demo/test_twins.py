from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.scene import Scene
from pairmill.pipeline.demo.twins import recoloured_scene, recounted_scene, roomy_scene
from pairmill.transforms.image.likeness import phash, thumbnail


def look(scene: Scene) -> tuple[int, np.ndarray]:
    picture = Image.fromarray(draw_scene(scene))
    return phash(picture), np.frombuffer(thumbnail(picture), np.uint8).astype(int)


def test_twins_differ_in_one_point_alone() -> None:
    for number in range(200):
        scene, other, fewer = (find(1, number) for find in (roomy_scene, recoloured_scene, recounted_scene))
        group = scene.groups[0]
        assert scene.relation == "alone"
        assert other.groups[0].colour not in (group.colour, scene.background.colour, scene.background.second)
        assert replace(other, groups=scene.groups) == scene
        assert replace(other.groups[0], colour=group.colour) == group
        assert fewer.groups[0].count == group.count - 1
        assert replace(fewer, groups=scene.groups) == scene


def test_twins_are_no_near_duplicates_although_a_hash_may_say_so() -> None:
    """As the pipeline has it: hashes within 2 bits and thumbnails within 8 levels."""
    same_hash = 0
    for number in range(60):
        (first, one), (second, other), (_, fewer) = (
            look(find(2, number)) for find in (roomy_scene, recoloured_scene, recounted_scene)
        )
        assert np.abs(one - other).mean() > 9
        assert np.abs(one - fewer).mean() > 9
        same_hash += (first ^ second).bit_count() <= 2
    assert same_hash > 5
