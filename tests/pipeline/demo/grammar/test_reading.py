from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.pipeline.demo.grammar import LANGUAGES, Facts, Mention, caption, facts_of, read_facts
from pairmill.pipeline.demo.misstated import misstated
from pairmill.pipeline.demo.scene import scene_at


@pytest.mark.parametrize("language", LANGUAGES)
@given(number=st.integers(0, 2**63 - 1), variant=st.integers(0, 10_000))
@settings(max_examples=250)
def test_a_caption_states_the_facts_of_its_scene(language: str, number: int, variant: int) -> None:
    scene = scene_at(11, number)
    assert read_facts(caption(scene, language, variant), language) == facts_of(scene)


def test_facts_are_those_of_the_scene() -> None:
    scene = next(scene for scene in (scene_at(1, n) for n in range(100)) if scene.relation == "above")
    facts = facts_of(scene)
    assert facts.first == Mention(scene.groups[0].count, scene.groups[0].colour, scene.groups[0].thing)
    assert facts.second == Mention(scene.groups[1].count, scene.groups[1].colour, scene.groups[1].thing)
    assert facts_of(replace(scene, groups=scene.groups[:1], relation="alone")).second is None


def test_what_nobody_wrote_here_is_read_too() -> None:
    assert read_facts("Two shiny blue stars, right of one green tree!", "en") == Facts(
        Mention(1, "green", "tree"), Mention(2, "blue", "star"), "left_of"
    )
    assert read_facts("A red star is above three blue moons.", "en") == Facts(
        Mention(1, "red", "star"), Mention(3, "blue", "moon"), "above"
    )
    assert read_facts("Un cercle rouge sous la pluie", "fr") == Facts(Mention(1, "red", "circle"))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("a photo of a cat", "en"),
        ("a star", "en"),
        ("red stars", "en"),
        ("a red star and a blue moon", "en"),
        ("a red star above a blue moon above a green tree", "en"),
        ("ein roter Stern", "en"),
        ("click here to see a larger version", "en"),
    ],
)
def test_what_states_no_facts_is_none(text: str, language: str) -> None:
    assert read_facts(text, language) is None


@given(st.integers(0, 2**40), st.sampled_from(["colour", "count", "object", "relation"]))
@settings(max_examples=150)
def test_a_misstated_scene_is_wrong_in_one_point(number: int, point: str) -> None:
    scene = scene_at(12, number)
    if point == "relation" and len(scene.groups) == 1:
        return
    true, said = facts_of(scene), read_facts(caption(misstated(scene, point)), "en")
    assert said is not None
    assert said != true
    if point == "relation":
        assert (said.first, said.second, said.relation) == (true.second, true.first, true.relation)
        return
    pairs = [(true.first, said.first)] + ([(true.second, said.second)] if true.second and said.second else [])
    fields = ("count", "colour", "thing")
    changed = [field for one, other in pairs for field in fields if getattr(one, field) != getattr(other, field)]
    assert changed == ["thing" if point == "object" else point]
    assert said.relation == true.relation
