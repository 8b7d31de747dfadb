from __future__ import annotations

import numpy as np

from pairmill.pipeline.demo.misstated import misstated, scene_of_two
from pairmill.pipeline.demo.scene import COLOURS, THINGS, Background, Group, Scene, scene_at
from pairmill.pipeline.demo.training.labels import FACTS, NONE, PATCH_FACTS, STATED, fact_labels, patch_labels

WHOLE = (0.0, 0.0, 1.0, 1.0)


def scene(relation: str, *groups: Group) -> Scene:
    return Scene(240, 240, Background("plain", "white", "black"), groups, relation, 0.0, 0, 90, 5)


def facts(shown: Scene) -> dict[str, int]:
    return dict(zip(FACTS, fact_labels(shown).tolist(), strict=True))


def test_facts_are_those_of_the_scene_and_none_where_it_has_none():
    star = Group("star", "red", "large", "dotted", 3)
    told = facts(scene("alone", star))
    assert told["thing"] == THINGS.index("star")
    assert told["colour"] == list(COLOURS).index("red")
    assert told["count"] == 2
    assert told["size"] == NONE  # many are made to fit
    assert {told[name] for name in FACTS if name.startswith("other_")} == {NONE}
    assert told["second_ground"] == NONE
    both = facts(scene("above", star, Group("fish", "blue", "small", "solid", 1)))
    assert (both["other_thing"], both["other_count"], both["other_size"]) == (THINGS.index("fish"), 0, 0)


def test_every_label_is_a_value_of_its_fact():
    for number in range(200):
        told = facts(scene_at(3, number))
        assert all(label == NONE or 0 <= label < FACTS[name] for name, label in told.items())


def test_whatever_is_misstated_changes_a_stated_fact():
    for number in range(50):
        shown = scene_of_two(3, number)
        for point in ("colour", "count", "object", "relation"):
            other = facts(misstated(shown, point))
            assert any(other[name] != facts(shown)[name] for name in STATED)


def test_patches_hold_the_things_and_as_many_middles_as_there_are():
    for number in range(100):
        shown = scene_at(4, number)
        labels = patch_labels(shown, WHOLE, 8)
        assert labels.shape == (64, len(PATCH_FACTS))
        things = {THINGS.index(group.thing) + 1 for group in shown.groups}
        assert set(np.unique(labels[:, 0])) <= things | {0}
        assert labels[:, 2].sum() <= sum(group.count for group in shown.groups)
        assert ((labels[:, 0] == 0) == (labels[:, 1] == 0)).all()
    four = scene("alone", Group("star", "red", "large", "solid", 4))
    assert patch_labels(four, WHOLE, 8)[:, 2].sum() == 4


def test_a_cut_picture_has_patches_of_what_is_left():
    left = Group("star", "red", "large", "solid", 1)
    shown = scene("left_of", left, Group("fish", "blue", "large", "solid", 1))
    half = patch_labels(shown, (0.5, 0.0, 1.0, 1.0), 8)
    assert set(np.unique(half[:, 0])) == {0, THINGS.index("fish") + 1}
    assert half[:, 2].sum() == 1


def test_what_is_inside_lies_before_its_holder():
    shown = scene("inside", Group("star", "red", "small", "solid", 1), Group("ring", "blue", "large", "solid", 1))
    labels = patch_labels(shown, WHOLE, 8)
    inner, outer = (labels[:, 0] == THINGS.index(name) + 1 for name in ("star", "ring"))
    assert 0 < inner.sum() < outer.sum()
