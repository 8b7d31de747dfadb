"""French words for scenes."""

from __future__ import annotations

from pairmill.pipeline.demo.grammar.lexicon import Language, Noun
from pairmill.pipeline.demo.scene import Background, Group

NOUNS = {
    "circle": Noun("cercle", "cercles", "m"),
    "square": Noun("carré", "carrés", "m"),
    "triangle": Noun("triangle", "triangles", "m"),
    "star": Noun("étoile", "étoiles", "f"),
    "ring": Noun("anneau", "anneaux", "m"),
    "cross": Noun("croix", "croix", "f"),
    "diamond": Noun("losange", "losanges", "m"),
    "heart": Noun("cœur", "cœurs", "m"),
    "arrow": Noun("flèche", "flèches", "f"),
    "moon": Noun("lune", "lunes", "f"),
    "house": Noun("maison", "maisons", "f"),
    "tree": Noun("arbre", "arbres", "m"),
    "fish": Noun("poisson", "poissons", "m"),
}
#: Masculine and feminine; ``orange`` and ``marron`` never change.
COLOURS = {
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
NUMBERS = ("", "un", "deux", "trois", "quatre", "cinq")
_SIZES = {"small": ("petit", "petite"), "large": ("grand", "grande")}
_TEXTURES = {"striped": "à rayures", "dotted": "à pois"}
_UNCHANGED = ("orange", "marron")


def _plural(word: str) -> str:
    return word if word in _UNCHANGED or word.endswith("s") else word + "s"


def _group(group: Group, in_full: bool, case: str) -> str:
    noun, single = NOUNS[group.thing], group.count == 1
    feminine = int(noun.gender == "f")
    colour = COLOURS[group.colour][feminine]
    words = [NUMBERS[group.count] + ("e" if feminine and single else "")]
    if in_full and single:
        words.append(_SIZES[group.size][feminine])
    words += [noun.one, colour] if single else [noun.many, _plural(colour)]
    if in_full and group.texture != "solid":
        words.append(_TEXTURES[group.texture])
    return " ".join(words)


def _place(background: Background, way: int) -> str:
    first, second = COLOURS[background.colour][0], COLOURS[background.second][0]
    fades = f"un fond qui passe du {first} au {second}"
    return {
        "plain": (f"sur un fond uni {first}", f"devant un fond uni {first}"),
        "gradient": (f"sur {fades}", f"devant {fades}"),
        "field": (
            f"au-dessus d'un champ {first} sous un ciel {second}",
            f"dans un champ {first} sous un ciel {second}",
        ),
        "stripes": (
            f"devant un mur à bandes, {first} et {second}",
            f"sur un fond à bandes, {first} et {second}",
        ),
        "checks": (
            f"sur un sol à carreaux, {first} et {second}",
            f"sur un fond à carreaux, {first} et {second}",
        ),
    }[background.kind][way]


def _finish(sentence: str) -> str:
    """``de un`` is ``d'un``; ``du orange``, ``de l'orange``."""
    joined = sentence.replace(" de un", " d'un")
    return joined.replace(" du orange", " de l'orange").replace(" au orange", " à l'orange")


FRENCH = Language(
    code="fr",
    group=_group,
    place=_place,
    finish=_finish,
    nouns=NOUNS,
    colour_forms={
        name: tuple(dict.fromkeys(form for word in words for form in (word, _plural(word))))
        for name, words in COLOURS.items()
    },
    number_forms=((), ("un", "une", "d'un", "d'une"), *((word,) for word in NUMBERS[2:])),
    colour_first=False,
)
