"""What the translator learns from: captions with their one translation into each language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pairmill.pipeline.demo.chance import Chance
from pairmill.pipeline.demo.grammar import caption
from pairmill.pipeline.demo.grammar.captions import worded
from pairmill.pipeline.demo.grammar.sentences import OPENINGS, SENTENCES
from pairmill.pipeline.demo.scene import (
    COLOURS,
    MAX_COUNT,
    RELATIONS,
    SIZES,
    TEXTURES,
    THINGS,
    Group,
    Scene,
    random_background,
    scene_at,
)

#: Language → the token before a source text that asks for it, as OPUS-MT's multilingual models have them.
DIRECTIONS = {"de": ">>deu<<", "fr": ">>fra<<", "es": ">>spa<<"}
#: Stream of chance that decides what is only said.
_SAID = 15
#: One source text in so many is empty, and so are its translations.
_EMPTY_ONE_IN = 250


class Lesson(NamedTuple):
    """An English text and its translations, by language."""

    source: str
    targets: dict[str, str]


def caption_lesson(seed: int, number: int) -> Lesson:
    """The caption of a scene as a pool of this seed may have it."""
    scene = scene_at(seed, number)
    return Lesson(caption(scene, "en", number), {language: caption(scene, language, number) for language in DIRECTIONS})


def training_lesson(seed: int, number: int) -> Lesson:
    """A caption to learn from: one of a scene of this seed, or anything that the grammar can say.

    The latter is half of them: captions may be wrong about a scene, and models that caption make things up.
    """
    chance = Chance(seed, _SAID, number)
    if not chance.below(_EMPTY_ONE_IN):
        return Lesson("", dict.fromkeys(DIRECTIONS, ""))
    return caption_lesson(seed, number) if chance.share() < 0.5 else _said(chance)


def training_texts(seed: int, lessons: int) -> Iterator[str]:
    """The texts of so many lessons, in all languages."""
    for number in range(lessons):
        lesson = training_lesson(seed, number)
        yield from (lesson.source, *lesson.targets.values())


def _said(chance: Chance) -> Lesson:
    """Things, colours, relation, background and wording, drawn without a look at each other."""
    relation = chance.pick(RELATIONS)
    groups = tuple(_group(chance) for _ in range(1 if relation == "alone" else 2))
    scene = Scene(256, 256, random_background(chance), groups, relation, light=0, noise=0, quality=90, seed=0)
    in_full = (chance.share() < 0.5, chance.share() < 0.5)
    wording = (chance.pick(OPENINGS), chance.pick(SENTENCES[relation]), in_full, chance.below(3) - 1)
    targets = {language: worded(scene, language, *wording) for language in DIRECTIONS}
    return Lesson(worded(scene, "en", *wording), targets)


def _group(chance: Chance) -> Group:
    return Group(
        thing=chance.pick(THINGS),
        colour=chance.pick(tuple(COLOURS)),
        size=chance.pick(SIZES),
        texture=chance.pick(TEXTURES),
        count=1 if chance.share() < 0.5 else 2 + chance.below(MAX_COUNT - 1),
    )
