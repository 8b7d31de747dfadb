from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.pipeline.demo.chance import OTHERS, Chance
from pairmill.pipeline.demo.grammar import LANGUAGES, facts_of, read_facts
from pairmill.pipeline.demo.scene import scene_at
from pairmill.pipeline.demo.training.captioner_data import PROMPTS, STYLES, lesson, styled

NUMBERS = st.integers(0, 2**40)


@given(NUMBERS, st.sampled_from(sorted(STYLES)), st.sampled_from(sorted(LANGUAGES)))
@settings(max_examples=300)
def test_each_caption_states_the_facts_of_its_scene(number: int, style: str, language: str) -> None:
    scene = scene_at(4, number)
    assert read_facts(styled(scene, style, language), language) == facts_of(scene)


@given(NUMBERS)
@settings(max_examples=100)
def test_a_dense_caption_says_more_than_a_short_one(number: int) -> None:
    scene = scene_at(4, number)
    short, dense = styled(scene, "short"), styled(scene, "dense")
    assert len(dense.split()) >= len(short.split())
    assert any(group.texture in dense.split() for group in scene.groups if group.texture != "solid") or all(
        group.texture == "solid" for group in scene.groups
    )
    assert scene.background.colour in dense.split()


def test_no_prompt_asks_for_two_things_and_each_kind_of_caption_has_one() -> None:
    assert set(PROMPTS) == {(style, language) for style in STYLES for language in LANGUAGES}
    for one, other in combinations(PROMPTS.values(), 2):
        assert not set(one) & set(other)


@given(NUMBERS, st.booleans())
@settings(max_examples=200)
def test_the_answer_of_a_lesson_is_what_its_prompt_asks_for(number: int, quoting: bool) -> None:
    scene = scene_at(4, number)
    prompt, answer = lesson(scene, Chance(1, OTHERS, number), quoting)
    asked = [kind for kind, prompts in PROMPTS.items() if any(text in prompt for text in prompts)]
    assert answer in [styled(scene, *kind) for kind in asked]
    assert quoting == (prompt not in [text for prompts in PROMPTS.values() for text in prompts])
