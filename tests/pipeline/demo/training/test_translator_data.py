from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pairmill.pipeline.demo.grammar import caption, read_facts
from pairmill.pipeline.demo.scene import scene_at
from pairmill.pipeline.demo.training.pictures import HELD_OUT_SEED, TRAINING_SEED
from pairmill.pipeline.demo.training.translator_data import (
    DIRECTIONS,
    caption_lesson,
    training_lesson,
    training_texts,
)


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6))
def test_a_lesson_depends_on_seed_and_number_alone_and_says_the_same_in_each_language(seed, number):
    lesson = training_lesson(seed, number)
    assert lesson == training_lesson(seed, number)
    assert tuple(lesson.targets) == tuple(DIRECTIONS)
    facts = {read_facts(text, language) for language, text in {"en": lesson.source, **lesson.targets}.items()}
    assert len(facts) == 1
    assert (facts == {None}) == (lesson.source == "")


def test_a_caption_lesson_is_what_a_pool_says():
    scene = scene_at(7, 12)
    lesson = caption_lesson(7, 12)
    assert lesson.source == caption(scene, "en", 12)
    assert lesson.targets == {language: caption(scene, language, 12) for language in DIRECTIONS}


def test_half_of_the_lessons_are_captions_of_scenes_and_few_are_empty():
    lessons = [training_lesson(1, number) for number in range(3000)]
    of_scenes = sum(lesson == caption_lesson(1, number) for number, lesson in enumerate(lessons))
    assert 1350 < of_scenes < 1650
    assert 1 <= sum(lesson.source == "" for lesson in lessons) <= 40


def test_what_is_measured_was_not_taught():
    """A caption of few words may be drawn twice; that is rare."""
    count = 2000
    taught = {training_lesson(TRAINING_SEED, number).source for number in range(count)}
    asked = [caption_lesson(HELD_OUT_SEED, number).source for number in range(count)]
    assert sum(text in taught for text in asked) < count // 100


def test_the_texts_of_lessons_are_in_all_languages():
    lesson = training_lesson(3, 0)
    assert list(training_texts(3, 2))[:4] == [lesson.source, *lesson.targets.values()]
