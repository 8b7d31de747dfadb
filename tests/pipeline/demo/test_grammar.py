from __future__ import annotations

import itertools

import numpy as np
import pytest

from pairmill.pipeline.demo.grammar import captions
from pairmill.pipeline.demo.identify import is_english
from pairmill.pipeline.demo.scene import Background, Group, Scene, random_scene


def some_captions(scene: Scene, language: str = "en", count: int = 40) -> set[str]:
    return set(itertools.islice(captions(scene, np.random.default_rng(0), language), count))


def scene_of(*groups: Group, background: Background | None = None) -> Scene:
    arrangement = "alone" if len(groups) == 1 else "beside"
    return Scene(256, 256, background or Background("plain", "white", "grey"), groups, arrangement, 0.0, 0.0, 5)


def test_captions_name_what_is_there() -> None:
    scene = scene_of(Group("star", "red", "large", "striped", 3), Group("heart", "orange", "small", "solid", 1))
    for text in some_captions(scene):
        assert "three" in text
        assert "red stars" in text
        assert "orange heart" in text
        assert "large" not in text  # a size is said of single things


def test_english_articles_and_plurals() -> None:
    orange = some_captions(scene_of(Group("arrow", "orange", "small", "solid", 1)))
    assert any("an orange arrow" in text for text in orange)
    assert not any("a orange" in text or "a arrow" in text for text in orange)
    assert all("crosses" in text for text in some_captions(scene_of(Group("cross", "red", "small", "solid", 2))))
    sky = scene_of(Group("star", "red", "small", "solid", 1), background=Background("field", "green", "orange"))
    assert any("under an orange sky" in text for text in some_captions(sky))


def test_german_agrees_in_gender_and_number() -> None:
    words = {"circle": "roter Kreis", "square": "rotes Quadrat", "diamond": "rote Raute"}
    for shape, expected in words.items():
        assert all(expected in text for text in some_captions(scene_of(Group(shape, "red", "small", "solid", 1)), "de"))
    pair = scene_of(Group("circle", "red", "small", "solid", 2))
    assert all("zwei rote Kreise" in text for text in some_captions(pair, "de"))


def test_french_agrees_in_gender_and_number() -> None:
    star = some_captions(scene_of(Group("star", "green", "small", "solid", 1)), "fr")
    assert all("étoile verte" in text for text in star)
    crosses = some_captions(scene_of(Group("cross", "white", "small", "solid", 2)), "fr")
    assert all("deux croix blanches" in text for text in crosses)
    pair = scene_of(Group("circle", "brown", "small", "solid", 2), Group("star", "red", "small", "solid", 1))
    assert all("cercles marron" in text and " de un" not in text for text in some_captions(pair, "fr"))


def test_an_unknown_language_is_named() -> None:
    scene = scene_of(Group("star", "red", "small", "solid", 1))
    with pytest.raises(ValueError, match="no grammar for language 'cs'; there are en, de, fr"):
        next(captions(scene, np.random.default_rng(0), "cs"))


def test_english_passes_for_english_and_the_others_do_not() -> None:
    for seed in range(150):
        scene = random_scene(np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        assert is_english(next(captions(scene, rng, "en")))
        assert not is_english(next(captions(scene, rng, "de")))
        assert not is_english(next(captions(scene, rng, "fr")))


def test_captions_are_varied() -> None:
    said = [next(captions(random_scene(np.random.default_rng(s)), np.random.default_rng(s))) for s in range(200)]
    assert len(set(said)) > 195
    assert min(len(text.split()) for text in said) >= 6
