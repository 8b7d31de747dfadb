from __future__ import annotations

import numpy as np
import pytest

from pairmill.pipeline.demo.chance import Chance
from pairmill.pipeline.demo.grammar import LANGUAGES, facts_of, read_facts
from pairmill.pipeline.demo.misstated import BOILERPLATE
from pairmill.pipeline.demo.pairs import BLANK_CAPTION
from pairmill.pipeline.demo.training.clip_data import WRONG, blank_lesson, junk, lesson, pair_batch
from pairmill.pipeline.demo.training.labels import FACTS, NONE
from pairmill.pipeline.demo.training.pictures import TRAINING_SEED, training_scene
from pairmill.pipeline.demo.training.vision import TowerSize


def said_by(text: str) -> list:
    return [read_facts(text, language) for language in LANGUAGES]


def lessons(count: int):
    for number in range(count):
        scene = training_scene(5, number)
        yield scene, lesson(scene, Chance(5, 18, number), 5, number)


def test_the_first_caption_is_true_and_no_other_one_is():
    for scene, told in lessons(300):
        assert len(told.texts) == len(told.scenes) == 1 + WRONG
        assert facts_of(scene) in said_by(told.texts[0])
        assert told.scenes[0] == scene
        for text, spoken_of in zip(told.texts[1:], told.scenes[1:], strict=True):
            assert facts_of(scene) not in said_by(text)
            assert spoken_of is None or facts_of(spoken_of) in said_by(text)


def test_wrong_captions_are_of_all_sorts_and_in_all_languages():
    told = [each for _, each in lessons(300)]
    languages = [language for each in told for language in LANGUAGES if read_facts(each.texts[0], language)]
    assert set(languages) == set(LANGUAGES)
    assert languages.count("en") > len(told) / 2
    last = [each.scenes[-1] for each in told]
    assert 0 < sum(scene is None for scene in last) < len(told) / 3
    swapped = [
        scene is not None
        and len(scene.groups) == 2
        and scene.groups[0].colour == true.groups[1].colour
        and scene.groups[0].thing == true.groups[0].thing
        for scene, true in zip(last, (each.scenes[0] for each in told), strict=True)
        if len(true.groups) == 2
    ]
    assert any(swapped)


def test_junk_is_not_what_pools_plant():
    texts = [junk(Chance(5, 18, number)) for number in range(500)]
    assert len(set(texts)) > 450
    assert not any(text.format(number) in texts for text in BOILERPLATE for number in range(100))
    assert not any(facts for text in texts for facts in said_by(text))


def test_a_picture_of_nothing_has_the_caption_of_one():
    told = blank_lesson(Chance(5, 18, 0), 5, 0)
    assert told.texts[0] == BLANK_CAPTION
    assert len(set(told.texts)) == 1 + WRONG


def test_a_batch_depends_on_its_numbers_alone():
    pytest.importorskip("torch")
    size = TowerSize()
    made = [pair_batch(size, 40, 4, TRAINING_SEED, 128, 0) for _ in range(2)]
    for one, other in zip(*made, strict=True):
        assert (one == other).all()
    pixels, facts, patches, ids, said = made[0]
    assert pixels.shape == (4, 80, 80, 3)
    assert facts.shape == (4, len(FACTS))
    assert patches.shape == (4, 64, 3)
    assert ids.shape[:2] == said.shape[:2] == (1 + WRONG, 4)
    assert (facts[0] == NONE).all()  # the one of 128 that shows nothing
    assert np.ptp(pixels[0].numpy().reshape(-1, 3), axis=0).max() == 0
    assert (said[0, 1:] == facts[1:]).all()
