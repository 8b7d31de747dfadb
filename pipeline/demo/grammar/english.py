"""English words for scenes."""

from __future__ import annotations

from pairmill.pipeline.demo.grammar.lexicon import Language, Noun
from pairmill.pipeline.demo.scene import COLOURS, THINGS, Background, Group

_PLURALS = {"cross": "crosses", "fish": "fish"}
NOUNS = {thing: Noun(thing, _PLURALS.get(thing, thing + "s")) for thing in THINGS}
NUMBERS = ("", "one", "two", "three", "four", "five")


def _group(group: Group, in_full: bool, case: str) -> str:
    single = group.count == 1
    words = [group.size] if in_full and single else []
    if in_full and group.texture != "solid":
        words.append(group.texture)
    words.append(group.colour)
    noun = NOUNS[group.thing]
    words.append(noun.one if single else noun.many)
    return _a(" ".join(words)) if single else f"{NUMBERS[group.count]} {' '.join(words)}"


def _a(words: str) -> str:
    """The words with their article; among the words that begin one here, all vowels sound as vowels."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _place(background: Background, way: int) -> str:
    colour, second = background.colour, background.second
    return {
        "plain": (f"on a plain {colour} background", f"in front of a plain {colour} background"),
        "gradient": (
            f"on a background that fades from {colour} to {second}",
            f"in front of a background that fades from {colour} to {second}",
        ),
        "field": (f"over {_a(colour)} field under {_a(second)} sky", f"in {_a(colour)} field below {_a(second)} sky"),
        "stripes": (
            f"in front of a wall with {colour} and {second} stripes",
            f"on a background with {colour} and {second} stripes",
        ),
        "checks": (
            f"on {_a(colour)} and {second} checkered floor",
            f"on a background with {colour} and {second} checks",
        ),
    }[background.kind][way]


ENGLISH = Language(
    code="en",
    group=_group,
    place=_place,
    finish=str,
    nouns=NOUNS,
    colour_forms={name: (name,) for name in COLOURS},
    number_forms=((), ("a", "an", "one"), *((word,) for word in NUMBERS[2:])),
    colour_first=True,
)
