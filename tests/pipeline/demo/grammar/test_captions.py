from __future__ import annotations

import pytest

from pairmill.pipeline.demo.grammar import LANGUAGES, caption
from pairmill.pipeline.demo.grammar.german import GERMAN
from pairmill.pipeline.demo.grammar.sentences import OPENINGS, SENTENCES, Said
from pairmill.pipeline.demo.scene import RELATIONS, Background, Group, Scene, scene_at
from pairmill.transforms.language import identify_languages


def scene_of(*groups: Group, background: Background | None = None) -> Scene:
    relation = "alone" if len(groups) == 1 else "left_of"
    return Scene(256, 256, background or Background("plain", "white", "grey"), groups, relation, 0.0, 0, 90, 5)


def some_captions(scene: Scene, language: str = "en", count: int = 60) -> set[str]:
    return {caption(scene, language, variant) for variant in range(count)}


def test_the_same_variant_says_the_same() -> None:
    scene = scene_at(0, 3)
    assert caption(scene, "fr", 4) == caption(scene, "fr", 4)
    assert len(some_captions(scene)) > 30


def test_english_articles_and_plurals() -> None:
    orange = some_captions(scene_of(Group("arrow", "orange", "small", "solid", 1)))
    assert any("an orange arrow" in text for text in orange)
    assert not any("a orange" in text or "a arrow" in text for text in orange)
    assert all(
        "two red crosses" in text for text in some_captions(scene_of(Group("cross", "red", "small", "solid", 2)))
    )
    sky = scene_of(Group("star", "red", "small", "solid", 1), background=Background("field", "green", "orange"))
    assert any("under an orange sky" in text for text in some_captions(sky))
    many = some_captions(scene_of(Group("star", "red", "large", "striped", 3)))
    assert any("three striped red stars" in text for text in many)
    assert not any("large" in text for text in many)  # a size is said of single things


@pytest.mark.parametrize(
    ("thing", "nominative", "accusative", "dative", "plural", "of_many"),
    [
        (
            "circle",
            "ein roter Kreis",
            "einen roten Kreis",
            "einem roten Kreis",
            "zwei rote Kreise",
            "zwei roten Kreisen",
        ),
        ("house", "ein rotes Haus", "ein rotes Haus", "einem roten Haus", "zwei rote Häuser", "zwei roten Häusern"),
        ("diamond", "eine rote Raute", "eine rote Raute", "einer roten Raute", "zwei rote Rauten", "zwei roten Rauten"),
    ],
)
def test_german_agrees_in_case_gender_and_number(
    thing: str, nominative: str, accusative: str, dative: str, plural: str, of_many: str
) -> None:
    one, two = (Group(thing, "red", "small", "solid", count) for count in (1, 2))
    assert [GERMAN.group(one, False, case) for case in ("nom", "acc", "dat")] == [nominative, accusative, dative]
    assert [GERMAN.group(two, False, case) for case in ("nom", "acc", "dat")] == [plural, plural, of_many]


def test_german_openings_ask_for_their_case() -> None:
    texts = some_captions(scene_of(Group("moon", "blue", "large", "striped", 1)), "de", 150)
    assert any(text.startswith("dieses Bild zeigt einen großen gestreiften blauen Mond") for text in texts)
    assert any(text.startswith("ein Bild von einem blauen Mond") for text in texts)
    assert any(text.startswith("nur ein blauer Mond") for text in texts)


def test_french_and_spanish_agree_in_gender_and_number() -> None:
    star = scene_of(Group("star", "green", "small", "solid", 1), Group("circle", "brown", "small", "solid", 2))
    french, spanish = some_captions(star, "fr", 100), some_captions(star, "es", 100)
    assert all("étoile verte" in text and "cercles marron" in text for text in french)
    assert not any(" de un" in text for text in french)
    assert any("d'une étoile" in text or "d'une petite étoile" in text for text in french)
    assert all("estrella verde" in text and "círculos marrones" in text for text in spanish)
    cross = scene_of(Group("cross", "white", "large", "dotted", 1))
    assert any("cruz blanca grande de lunares" in text for text in some_captions(cross, "es"))
    assert any("grande croix blanche à pois" in text for text in some_captions(cross, "fr"))
    fades = scene_of(Group("star", "red", "small", "solid", 1), background=Background("gradient", "orange", "blue"))
    assert any("passe de l'orange au bleu" in text for text in some_captions(fades, "fr"))


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(ValueError, match="no grammar for language 'cs'; there are en, de, fr, es"):
        caption(scene_at(0, 0), "cs")


def test_every_phrase_is_there_in_every_language() -> None:
    phrases = [*OPENINGS, *(said for relation in RELATIONS for said in SENTENCES[relation])]
    for language in LANGUAGES:
        spoken = [getattr(said, language) for said in phrases]
        assert len(set(spoken)) == len(spoken)
        for said in phrases:
            assert groups_named(said, language) == groups_named(said, "en")


def groups_named(said: Said, language: str) -> set[str]:
    text = getattr(said, language)
    return {group for group in "ab" if f"{{{group}}}" in text or f"{{{group}_" in text}


def test_an_english_caption_has_one_translation() -> None:
    seen: dict[str, tuple[str, ...]] = {}
    for number in range(1500):
        scene = scene_at(6, number)
        for variant in range(4):
            translations = tuple(caption(scene, language, variant) for language in ("de", "fr", "es"))
            assert seen.setdefault(caption(scene, "en", variant), translations) == translations
    assert len(seen) > 5900


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_are_identified_as_their_language(language: str) -> None:
    texts = [caption(scene_at(8, number), language, number % 7) for number in range(2500)]
    found, _ = identify_languages(texts)
    assert [text for text, name in zip(texts, found, strict=True) if name != language] == []
    assert len(set(texts)) > 2490
    assert min(len(text.split()) for text in texts) >= 4
