"""The translations of any English sentence of the grammar, whoever wrote it: for judging a translation of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from pairmill.pipeline.demo.grammar import LANGUAGES, read_facts
from pairmill.pipeline.demo.grammar.captions import worded
from pairmill.pipeline.demo.grammar.english import NOUNS, NUMBERS
from pairmill.pipeline.demo.grammar.sentences import OPENINGS, SENTENCES
from pairmill.pipeline.demo.scene import BACKGROUNDS, COLOURS, SIZES, TEXTURES, Background, Group, Scene

_COLOUR = "|".join(COLOURS)
_THINGS = {form: thing for thing, noun in NOUNS.items() for form in (noun.one, noun.many)}
_COUNTS = {"a": 1, "an": 1, **{word: count for count, word in enumerate(NUMBERS) if count > 1}}
_GROUP = re.compile(
    rf"\b({'|'.join(_COUNTS)}) (?:({'|'.join(SIZES)}) )?(?:({'|'.join(TEXTURES)}) )?({_COLOUR}) ({'|'.join(_THINGS)})\b"
)


def reference_translations(text: str) -> dict[str, str] | None:
    """The one translation of an English sentence into each other language; None for one that the grammar cannot say."""
    facts = read_facts(text, "en")
    if facts is None:
        return None
    groups = tuple(_group(*match.groups()) for match in _GROUP.finditer(text))
    if len(groups) != (1 if facts.second is None else 2):
        return None
    for in_order, background in product((groups, groups[::-1]), _backgrounds(text)):
        scene = Scene(256, 256, background, in_order, facts.relation, light=0, noise=0, quality=90, seed=0)
        for opening, sentence, first, second, way in product(
            OPENINGS, SENTENCES[facts.relation], (False, True), (False, True), (-1, 0, 1)
        ):
            wording = (opening, sentence, (first, second), way)
            if worded(scene, "en", *wording) == text:
                return {language: worded(scene, language, *wording) for language in LANGUAGES if language != "en"}
    return None


def _group(number: str, size: str | None, texture: str | None, colour: str, thing: str) -> Group:
    return Group(_THINGS[thing], colour, size or SIZES[0], texture or "solid", _COUNTS[number])


def _backgrounds(text: str) -> Iterator[Background]:
    """The backgrounds that the words behind the last thing may speak of; any one where they speak of none."""
    last = max((match.end() for match in _GROUP.finditer(text)), default=0)
    named = re.findall(rf"\b({_COLOUR})\b", text[last:]) or ["white"]
    for kind in BACKGROUNDS:
        yield Background(kind, named[0], named[-1])
