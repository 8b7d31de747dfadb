from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pairmill.pipeline.demo.training.translator_data import training_lesson
from pairmill.pipeline.demo.training.translator_reference import reference_translations


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 10**6))
def test_every_sentence_of_the_grammar_has_its_own_translations(seed, number):
    lesson = training_lesson(seed, number)
    assume(lesson.source)
    assert reference_translations(lesson.source) == lesson.targets


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(0, 10**6), st.data())
def test_a_sentence_without_one_of_its_words_has_none_or_another_one(seed, number, data):
    lesson = training_lesson(seed, number)
    words = lesson.source.split()
    assume(len(words) > 3)
    del words[data.draw(st.integers(0, len(words) - 1))]
    assert reference_translations(" ".join(words)) != lesson.targets


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog on a sofa",
        "a red circle on",
        "two red circle on a plain white background",
        "a red circle and a blue square",
        "A red circle.",
        "a red circle a blue square a green moon",
    ],
)
def test_what_the_grammar_cannot_say_has_none(text):
    assert reference_translations(text) is None


def test_a_translation():
    assert reference_translations("a picture of a red circle above two dotted grey fish") == {
        "de": "ein Bild von einem roten Kreis über zwei gepunkteten grauen Fischen",
        "fr": "une image d'un cercle rouge au-dessus de deux poissons gris à pois",
        "es": "una imagen de un círculo rojo encima de dos peces grises de lunares",
    }
