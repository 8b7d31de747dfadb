from __future__ import annotations

import pytest

from pairmill.pipeline.demo.misstated import misstated, other_scene, said_of_nothing, scene_of_two
from pairmill.pipeline.demo.scene import scene_at
from pairmill.transforms.language import identify_languages


def test_another_scene_has_nothing_in_common() -> None:
    for number in range(300):
        shown = scene_at(0, number)
        other = other_scene(0, number, shown)
        assert not {g.thing for g in shown.groups} & {g.thing for g in other.groups}
        assert not {g.colour for g in shown.groups} & {g.colour for g in other.groups}
        assert other == other_scene(0, number, shown)


def test_scenes_of_two_have_two_groups() -> None:
    assert {len(scene_of_two(3, number).groups) for number in range(50)} == {2}


def test_what_cannot_be_misstated_is_an_error() -> None:
    alone = next(scene_at(0, n) for n in range(50) if scene_at(0, n).relation == "alone")
    with pytest.raises(ValueError, match="no relation to be wrong about"):
        misstated(alone, "relation")
    with pytest.raises(ValueError, match="cannot be wrong about 'size'"):
        misstated(alone, "size")


def test_boilerplate_is_english_and_passes_the_usual_rules() -> None:
    texts = {said_of_nothing("boilerplate", ordinal) for ordinal in range(2000)}
    found, _ = identify_languages(sorted(texts))
    assert set(found) == {"en"}
    assert all(len(text.split()) > 2 for text in texts)
    assert len(texts) > 150


def test_junk_has_too_few_words_or_characters() -> None:
    names = {said_of_nothing("file_name", ordinal) for ordinal in range(500)}
    assert {len(name.split()) for name in names} == {1}
    assert len(names) == 500
    words = {said_of_nothing("one_word", ordinal) for ordinal in range(20)}
    assert {(len(word.split()), len(word) > 5) for word in words} == {(1, True)}
    assert {(len(text.split()), len(text)) for text in (said_of_nothing("short", n) for n in range(9))} == {(3, 5)}
