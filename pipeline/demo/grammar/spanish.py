"""Spanish words for scenes."""

from __future__ import annotations

from pairmill.pipeline.demo.grammar.lexicon import Language, Noun
from pairmill.pipeline.demo.scene import Background, Group

NOUNS = {
    "circle": Noun("círculo", "círculos", "m"),
    "square": Noun("cuadrado", "cuadrados", "m"),
    "triangle": Noun("triángulo", "triángulos", "m"),
    "star": Noun("estrella", "estrellas", "f"),
    "ring": Noun("anillo", "anillos", "m"),
    "cross": Noun("cruz", "cruces", "f"),
    "diamond": Noun("rombo", "rombos", "m"),
    "heart": Noun("corazón", "corazones", "m"),
    "arrow": Noun("flecha", "flechas", "f"),
    "moon": Noun("luna", "lunas", "f"),
    "house": Noun("casa", "casas", "f"),
    "tree": Noun("árbol", "árboles", "m"),
    "fish": Noun("pez", "peces", "m"),
}
#: Masculine, feminine, and both in the plural.
COLOURS = {
    "red": ("rojo", "roja", "rojos", "rojas"),
    "green": ("verde", "verde", "verdes", "verdes"),
    "blue": ("azul", "azul", "azules", "azules"),
    "yellow": ("amarillo", "amarilla", "amarillos", "amarillas"),
    "orange": ("naranja", "naranja", "naranjas", "naranjas"),
    "purple": ("morado", "morada", "morados", "moradas"),
    "pink": ("rosa", "rosa", "rosas", "rosas"),
    "brown": ("marrón", "marrón", "marrones", "marrones"),
    "white": ("blanco", "blanca", "blancos", "blancas"),
    "black": ("negro", "negra", "negros", "negras"),
    "grey": ("gris", "gris", "grises", "grises"),
}
NUMBERS = ("", "un", "dos", "tres", "cuatro", "cinco")
_SIZES = {"small": ("pequeño", "pequeña"), "large": ("grande", "grande")}
_TEXTURES = {"striped": "a rayas", "dotted": "de lunares"}


def _group(group: Group, in_full: bool, case: str) -> str:
    noun, single = NOUNS[group.thing], group.count == 1
    feminine = int(noun.gender == "f")
    words = [NUMBERS[group.count] + ("a" if feminine and single else "")]
    words += [noun.one if single else noun.many, COLOURS[group.colour][feminine + (0 if single else 2)]]
    if in_full and single:
        words.append(_SIZES[group.size][feminine])
    if in_full and group.texture != "solid":
        words.append(_TEXTURES[group.texture])
    return " ".join(words)


def _place(background: Background, way: int) -> str:
    first, second = COLOURS[background.colour][0], COLOURS[background.second][0]
    fades = f"un fondo que pasa del {first} al {second}"
    return {
        "plain": (f"sobre un fondo liso {first}", f"delante de un fondo liso {first}"),
        "gradient": (f"sobre {fades}", f"delante de {fades}"),
        "field": (
            f"sobre un campo {first} bajo un cielo {second}",
            f"en un campo {first} bajo un cielo {second}",
        ),
        "stripes": (
            f"delante de una pared con franjas, {first} y {second}",
            f"sobre un fondo con franjas, {first} y {second}",
        ),
        "checks": (
            f"sobre un suelo a cuadros, {first} y {second}",
            f"sobre un fondo a cuadros, {first} y {second}",
        ),
    }[background.kind][way]


SPANISH = Language(
    code="es",
    group=_group,
    place=_place,
    finish=str,
    nouns=NOUNS,
    colour_forms={name: tuple(dict.fromkeys(words)) for name, words in COLOURS.items()},
    number_forms=((), ("un", "una"), *((word,) for word in NUMBERS[2:])),
    colour_first=False,
)
