"""What can be said of a scene, in English, German and French.

Sentences name things in the nominative only and agree in number and gender, so that a small table of words is
enough for grammatical text. A size is said of single things only, since many are made to fit. ``captions`` gives
several sentences of one scene: a caller that needs a certain language identified takes the first that suits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pairmill.pipeline.demo.scene import Background, Group, Scene

LANGUAGES = ("en", "de", "fr")


@dataclass(frozen=True)
class Noun:
    """One thing: singular, plural and gender (``m``, ``f``, ``n``)."""

    one: str
    many: str
    gender: str


def captions(scene: Scene, rng: np.random.Generator, language: str = "en") -> Iterator[str]:
    """Sentences that are true of the scene, without end, in an order drawn from ``rng``.

    Raises ValueError for a language other than those of ``LANGUAGES``.
    """
    if language not in LANGUAGES:
        raise ValueError(f"no grammar for language {language!r}; there are {', '.join(LANGUAGES)}")
    say_group, frames, say_background = _SPEAKERS[language]
    while True:
        things = [say_group(group, bool(rng.random() < 0.6)) for group in scene.groups]
        templates = frames[scene.arrangement]
        text = templates[int(rng.integers(len(templates)))]
        sentence = text.format(*things, place=say_background(scene.background))
        yield sentence.replace(" de un", " d'un") if language == "fr" else sentence


# English

_EN_NUMBERS = ("", "one", "two", "three", "four", "five")
_EN_PLURALS = {"cross": "crosses"}


def _english_group(group: Group, in_full: bool) -> str:
    words = [_EN_NUMBERS[group.count]]
    if in_full and group.count == 1:
        words.append(group.size)
    if in_full and group.texture != "solid":
        words.append(group.texture)
    words.append(group.colour)
    words.append(group.shape if group.count == 1 else _EN_PLURALS.get(group.shape, group.shape + "s"))
    if group.count == 1:
        return _a(" ".join(words[1:]))
    return " ".join(words)


def _a(words: str) -> str:
    """The words with their article; among the words that begin one here, all vowels sound as vowels."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _english_background(background: Background) -> str:
    colour, second = background.colour, background.second
    return {
        "plain": f"on a plain {colour} background",
        "gradient": f"on a background that fades from {colour} to {second}",
        "stripes": f"in front of a wall with {colour} and {second} stripes",
        "checks": f"on {_a(colour)} and {second} checkered floor",
        "field": f"over {_a(colour)} field under {_a(second)} sky",
    }[background.kind]


_ENGLISH_FRAMES: dict[str, tuple[str, ...]] = {
    "alone": (
        "{0} {place}",
        "a picture of {0} {place}",
        "this drawing shows {0} {place}",
        "we can see {0} {place}",
        "here is a simple drawing with {0} {place}",
        "{0} and nothing else {place}",
    ),
    "beside": (
        "{0} to the left of {1} {place}",
        "{1} to the right of {0} {place}",
        "a picture of {0} next to {1} {place}",
        "{0} on the left and {1} on the right, {place}",
        "this drawing shows {0} and {1} side by side {place}",
        "this picture has {0} beside {1}",
    ),
    "stacked": (
        "{0} above {1} {place}",
        "{1} below {0} {place}",
        "a picture of {0} at the top and {1} at the bottom {place}",
        "this drawing shows {0} over {1} {place}",
        "we can see {0} and, under it, {1} {place}",
        "{0} in the upper half and {1} in the lower half of the picture",
    ),
}

# German

_DE_NOUNS = {
    "circle": Noun("Kreis", "Kreise", "m"),
    "square": Noun("Quadrat", "Quadrate", "n"),
    "triangle": Noun("Dreieck", "Dreiecke", "n"),
    "star": Noun("Stern", "Sterne", "m"),
    "ring": Noun("Ring", "Ringe", "m"),
    "cross": Noun("Kreuz", "Kreuze", "n"),
    "diamond": Noun("Raute", "Rauten", "f"),
    "hexagon": Noun("Sechseck", "Sechsecke", "n"),
    "heart": Noun("Herz", "Herzen", "n"),
    "arrow": Noun("Pfeil", "Pfeile", "m"),
}
_DE_COLOURS = {
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
_DE_WORDS = {"small": "klein", "large": "groß", "striped": "gestreift", "dotted": "gepunktet"}
_DE_NUMBERS = ("", "ein", "zwei", "drei", "vier", "fünf")
_DE_ENDINGS = {"m": "er", "n": "es", "f": "e"}


def _german_group(group: Group, in_full: bool) -> str:
    noun = _DE_NOUNS[group.shape]
    ending = _DE_ENDINGS[noun.gender] if group.count == 1 else "e"
    number = _DE_NUMBERS[group.count] + ("e" if group.count == 1 and noun.gender == "f" else "")
    adjectives = [_DE_WORDS[group.size]] if in_full and group.count == 1 else []
    if in_full and group.texture != "solid":
        adjectives.append(_DE_WORDS[group.texture])
    adjectives.append(_DE_COLOURS[group.colour])
    return " ".join([number, *(word + ending for word in adjectives), noun.one if group.count == 1 else noun.many])


def _german_background(background: Background) -> str:
    colour, second = _DE_COLOURS[background.colour], _DE_COLOURS[background.second]
    return {
        "plain": f"auf einfarbig {colour}em Hintergrund",
        "gradient": f"auf einem Hintergrund, der von {colour.capitalize()} in {second.capitalize()} übergeht",
        "stripes": f"vor einer Wand mit {colour}en und {second}en Streifen",
        "checks": f"auf einem {colour}-{second} karierten Boden",
        "field": f"über einem {colour}en Feld unter {second}em Himmel",
    }[background.kind]


_GERMAN_FRAMES: dict[str, tuple[str, ...]] = {
    "alone": ("{0} {place}", "hier sieht man {place}: {0}", "das ist {place} zu sehen: {0}"),
    "beside": ("links {0}, rechts {1}, {place}", "{0} und daneben {1} {place}"),
    "stacked": ("oben {0}, unten {1}, {place}", "{0} und darunter {1} {place}"),
}

# French

_FR_NOUNS = {
    "circle": Noun("cercle", "cercles", "m"),
    "square": Noun("carré", "carrés", "m"),
    "triangle": Noun("triangle", "triangles", "m"),
    "star": Noun("étoile", "étoiles", "f"),
    "ring": Noun("anneau", "anneaux", "m"),
    "cross": Noun("croix", "croix", "f"),
    "diamond": Noun("losange", "losanges", "m"),
    "hexagon": Noun("hexagone", "hexagones", "m"),
    "heart": Noun("cœur", "cœurs", "m"),
    "arrow": Noun("flèche", "flèches", "f"),
}
#: Masculine and feminine; ``orange`` and ``marron`` never change.
_FR_COLOURS = {
    "red": ("rouge", "rouge"),
    "green": ("vert", "verte"),
    "blue": ("bleu", "bleue"),
    "yellow": ("jaune", "jaune"),
    "orange": ("orange", "orange"),
    "purple": ("violet", "violette"),
    "pink": ("rose", "rose"),
    "brown": ("marron", "marron"),
    "white": ("blanc", "blanche"),
    "black": ("noir", "noire"),
    "grey": ("gris", "grise"),
}
_FR_SIZES = {"small": ("petit", "petite"), "large": ("grand", "grande")}
_FR_TEXTURES = {"striped": "à rayures", "dotted": "à pois"}
_FR_NUMBERS = ("", "un", "deux", "trois", "quatre", "cinq")
_FR_UNCHANGED = ("orange", "marron")


def _plural(word: str, many: bool) -> str:
    return word if not many or word in _FR_UNCHANGED or word.endswith("s") else word + "s"


def _french_group(group: Group, in_full: bool) -> str:
    noun, many = _FR_NOUNS[group.shape], group.count > 1
    feminine = int(noun.gender == "f")
    words = [_FR_NUMBERS[group.count] + ("e" if feminine and not many else "")]
    if in_full and not many:
        words.append(_FR_SIZES[group.size][feminine])
    words.append(noun.many if many else noun.one)
    words.append(_plural(_FR_COLOURS[group.colour][feminine], many))
    if in_full and group.texture != "solid":
        words.append(_FR_TEXTURES[group.texture])
    return " ".join(words)


def _french_background(background: Background) -> str:
    first, second = _FR_COLOURS[background.colour][0], _FR_COLOURS[background.second][0]
    return {
        "plain": f"sur un fond uni {first}",
        "gradient": f"sur un fond dégradé, {first} et {second}",
        "stripes": f"devant un mur à rayures, {first} et {second}",
        "checks": f"sur un sol à carreaux, {first} et {second}",
        "field": f"au-dessus d'un champ {first} sous un ciel {second}",
    }[background.kind]


_FRENCH_FRAMES: dict[str, tuple[str, ...]] = {
    "alone": ("{0} {place}", "une image avec {0} {place}", "ce dessin montre {0} {place}"),
    "beside": ("{0} à gauche et {1} à droite, {place}", "ce dessin montre {0} à côté de {1} {place}"),
    "stacked": ("{0} en haut et {1} en bas, {place}", "ce dessin montre {0} au-dessus de {1} {place}"),
}

_SPEAKERS = {
    "en": (_english_group, _ENGLISH_FRAMES, _english_background),
    "de": (_german_group, _GERMAN_FRAMES, _german_background),
    "fr": (_french_group, _FRENCH_FRAMES, _french_background),
}
