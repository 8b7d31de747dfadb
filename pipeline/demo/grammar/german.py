"""German words for scenes, in the cases that the sentences need."""

from __future__ import annotations

from pairmill.pipeline.demo.grammar.lexicon import Language, Noun
from pairmill.pipeline.demo.scene import Background, Group

NOUNS = {
    "circle": Noun("Kreis", "Kreise", "m"),
    "square": Noun("Quadrat", "Quadrate", "n"),
    "triangle": Noun("Dreieck", "Dreiecke", "n"),
    "star": Noun("Stern", "Sterne", "m"),
    "ring": Noun("Ring", "Ringe", "m"),
    "cross": Noun("Kreuz", "Kreuze", "n"),
    "diamond": Noun("Raute", "Rauten", "f"),
    "heart": Noun("Herz", "Herzen", "n"),
    "arrow": Noun("Pfeil", "Pfeile", "m"),
    "moon": Noun("Mond", "Monde", "m"),
    "house": Noun("Haus", "Häuser", "n"),
    "tree": Noun("Baum", "Bäume", "m"),
    "fish": Noun("Fisch", "Fische", "m"),
}
COLOURS = {
    "red": "rot",
    "green": "grün",
    "blue": "blau",
    "yellow": "gelb",
    "orange": "orangefarben",
    "purple": "violett",
    "pink": "rosafarben",
    "brown": "braun",
    "white": "weiß",
    "black": "schwarz",
    "grey": "grau",
}
NUMBERS = ("", "ein", "zwei", "drei", "vier", "fünf")
_WORDS = {"small": "klein", "large": "groß", "striped": "gestreift", "dotted": "gepunktet"}
_ARTICLES = {
    "nom": {"m": "ein", "n": "ein", "f": "eine"},
    "acc": {"m": "einen", "n": "ein", "f": "eine"},
    "dat": {"m": "einem", "n": "einem", "f": "einer"},
}
#: Endings of adjectives behind "ein".
_ENDINGS = {
    "nom": {"m": "er", "n": "es", "f": "e"},
    "acc": {"m": "en", "n": "es", "f": "e"},
    "dat": {"m": "en", "n": "en", "f": "en"},
}
_ALL_ENDINGS = ("", "e", "er", "es", "en", "em")


def _group(group: Group, in_full: bool, case: str) -> str:
    noun, single = NOUNS[group.thing], group.count == 1
    if single:
        ending, number = _ENDINGS[case][noun.gender], _ARTICLES[case][noun.gender]
    else:
        ending, number = "en" if case == "dat" else "e", NUMBERS[group.count]
    adjectives = [_WORDS[group.size]] if in_full and single else []
    if in_full and group.texture != "solid":
        adjectives.append(_WORDS[group.texture])
    adjectives.append(COLOURS[group.colour])
    name = noun.one if single else noun.many
    if case == "dat" and not single and not name.endswith("n"):
        name += "n"
    return " ".join([number, *(word + ending for word in adjectives), name])


def _place(background: Background, way: int) -> str:
    colour, second = COLOURS[background.colour], COLOURS[background.second]
    fades = f"einem Hintergrund, der von {colour.capitalize()} in {second.capitalize()} übergeht"
    return {
        "plain": (f"auf einfarbig {colour}em Hintergrund", f"vor einfarbig {colour}em Hintergrund"),
        "gradient": (f"auf {fades}", f"vor {fades}"),
        "field": (
            f"über einem {colour}en Feld unter {second}em Himmel",
            f"in einem {colour}en Feld unter {second}em Himmel",
        ),
        "stripes": (
            f"vor einer Wand mit {colour}en und {second}en Streifen",
            f"auf einem Hintergrund mit {colour}en und {second}en Streifen",
        ),
        "checks": (
            f"auf einem {colour} und {second} karierten Boden",
            f"auf einem Hintergrund mit {colour}en und {second}en Karos",
        ),
    }[background.kind][way]


GERMAN = Language(
    code="de",
    group=_group,
    place=_place,
    finish=str,
    nouns=NOUNS,
    colour_forms={name: tuple(word + ending for ending in _ALL_ENDINGS) for name, word in COLOURS.items()},
    number_forms=((), ("ein", "eine", "einen", "einem", "einer"), *((word,) for word in NUMBERS[2:])),
    colour_first=True,
)
