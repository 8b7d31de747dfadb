"""A caption's facts, read from its words: for judging what a model says of a scene."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pairmill.pipeline.demo.grammar.captions import LANGUAGES
from pairmill.pipeline.demo.grammar.facts import Facts, Mention

_WORD = re.compile(r"(?:d')?[^\W\d_]+(?:-[^\W\d_]+)*")

#: Words between two groups (or before both) that say how the one named first lies to the other.
_CUES: dict[str, dict[str, str]] = {
    "en": {
        **{"left": "left", "right": "right", "above": "above", "top": "above", "below": "below", "bottom": "below"},
        **{"inside": "inside", "around": "holds", "holds": "holds"},
    },
    "de": {
        **{"links": "left", "rechts": "right", "über": "above", "oben": "above", "unter": "below", "unten": "below"},
        **{"in": "inside", "um": "holds", "mit": "holds"},
    },
    "fr": {
        **{"gauche": "left", "droite": "right", "au-dessus": "above", "haut": "above"},
        **{"au-dessous": "below", "bas": "below", "dans": "inside", "autour": "holds", "avec": "holds"},
    },
    "es": {
        **{"izquierda": "left", "derecha": "right", "encima": "above", "arriba": "above"},
        **{"debajo": "below", "abajo": "below", "dentro": "inside", "alrededor": "holds", "con": "holds"},
    },
}
#: Cue → (relation, whether the group named first is the first of it).
_MEANING = {
    "left": ("left_of", True),
    "right": ("left_of", False),
    "above": ("above", True),
    "below": ("above", False),
    "inside": ("inside", True),
    "holds": ("inside", False),
}


class _Found(NamedTuple):
    """A group in a list of words: the places of its number and of its last word."""

    start: int
    end: int
    mention: Mention


def read_facts(text: str, language: str) -> Facts | None:
    """What a caption in one of the ``LANGUAGES`` states; None where it states no group, more than two, or no relation.

    Only words are looked at, not grammar: other sentences than our own are read as long as numbers, colours and
    names of things stand together, and how the first one lies to the second is said between them.
    """
    words = _WORD.findall(text.lower())
    found = _groups(words, language)
    if len(found) == 1:
        return Facts(found[0].mention)
    if len(found) != 2:
        return None
    cue = next(
        (_CUES[language][word] for word in words[found[0].end + 1 : found[1].start] if word in _CUES[language]), None
    )
    if cue is None:
        return None
    relation, in_order = _MEANING[cue]
    first, second = (found[0].mention, found[1].mention) if in_order else (found[1].mention, found[0].mention)
    return Facts(first, second, relation)


def _groups(words: list[str], language: str) -> list[_Found]:
    """The groups that are named in full: number, colour and thing."""
    nouns, colours, numbers = _forms(language)
    found: list[_Found] = []
    behind = 0
    for place, word in enumerate(words):
        if word not in nouns:
            continue
        start = next((p for p in range(place - 1, behind - 1, -1) if words[p] in numbers), None)
        if LANGUAGES[language].colour_first:
            end, near = place, range(place - 1, (start or 0), -1)
        else:
            end, near = min(place + 1, len(words) - 1), range(place + 1, min(place + 2, len(words)))
        colour = next((colours[words[p]] for p in near if words[p] in colours), None)
        if start is not None and colour is not None:
            found.append(_Found(start, end, Mention(numbers[words[start]], colour, nouns[word])))
            behind = end + 1
    return found


@lru_cache(maxsize=len(LANGUAGES))
def _forms(language: str) -> tuple[dict[str, str], dict[str, str], dict[str, int]]:
    """Word → thing, colour, number."""
    known = LANGUAGES[language]
    nouns = {form.lower(): thing for thing, noun in known.nouns.items() for form in (noun.one, noun.many)}
    if language == "de":  # the dative plural
        nouns |= {noun.many.lower() + "n": thing for thing, noun in known.nouns.items()}
    colours = {form.lower(): name for name, forms in known.colour_forms.items() for form in forms}
    numbers = {form: count for count, forms in enumerate(known.number_forms) for form in forms}
    return nouns, colours, numbers
