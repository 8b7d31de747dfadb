"""The sentences that can be made, each in four languages that say the same: every caption has one translation.

``{a}`` and ``{b}`` are the first and the second group of the scene, in the case that the opening asks for;
``{a_dat}`` and the like are in the case of the word before them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """One phrase in each language; ``case`` is what it asks of German nouns that follow."""

    en: str
    de: str
    fr: str
    es: str
    case: str = "nom"


#: What a sentence may begin with.
OPENINGS = (
    Said("", "", "", ""),
    Said("a picture of ", "ein Bild von ", "une image de ", "una imagen de ", "dat"),
    Said("a drawing of ", "eine Zeichnung von ", "un dessin de ", "un dibujo de ", "dat"),
    Said("an illustration with ", "eine Illustration mit ", "une illustration avec ", "una ilustración con ", "dat"),
    Said(
        "a simple image with ", "ein einfaches Bild mit ", "une image simple avec ", "una imagen sencilla con ", "dat"
    ),
    Said("this picture shows ", "dieses Bild zeigt ", "cette image montre ", "esta imagen muestra ", "acc"),
    Said("this drawing shows ", "diese Zeichnung zeigt ", "ce dessin montre ", "este dibujo muestra ", "acc"),
    Said(
        "in this image we see ",
        "auf diesem Bild sehen wir ",
        "sur cette image on voit ",
        "en esta imagen vemos ",
        "acc",
    ),
    Said("here you can see ", "hier sieht man ", "on peut voir ici ", "aquí podemos ver ", "acc"),
    Said("someone has drawn ", "jemand hat hier gezeichnet: ", "quelqu'un a dessiné ", "alguien ha dibujado ", "acc"),
)

#: Relation → the ways to say it.
SENTENCES: dict[str, tuple[Said, ...]] = {
    "alone": (
        Said("{a}", "{a}", "{a}", "{a}"),
        Said("just {a}", "nur {a}", "seulement {a}", "solamente {a}"),
        Said("{a} and nothing else", "{a} und sonst nichts", "{a} et rien d'autre", "{a} y nada más"),
    ),
    "left_of": (
        Said(
            "{a} to the left of {b}",
            "{a} links von {b_dat}",
            "{a} à gauche de {b}",
            "{a} a la izquierda de {b}",
        ),
        Said(
            "{b} to the right of {a}",
            "{b} rechts von {a_dat}",
            "{b} à droite de {a}",
            "{b} a la derecha de {a}",
        ),
        Said(
            "{a} on the left and {b} on the right",
            "{a} links und {b} rechts",
            "{a} à gauche et {b} à droite",
            "{a} a la izquierda y {b} a la derecha",
        ),
        Said(
            "{b} on the right and {a} on the left",
            "{b} rechts und {a} links",
            "{b} à droite et {a} à gauche",
            "{b} a la derecha y {a} a la izquierda",
        ),
    ),
    "above": (
        Said("{a} above {b}", "{a} über {b_dat}", "{a} au-dessus de {b}", "{a} encima de {b}"),
        Said("{b} below {a}", "{b} unter {a_dat}", "{b} au-dessous de {a}", "{b} debajo de {a}"),
        Said(
            "{a} at the top and {b} at the bottom",
            "{a} oben und {b} unten",
            "{a} en haut et {b} en bas",
            "{a} arriba y {b} abajo",
        ),
        Said(
            "{b} at the bottom and {a} at the top",
            "{b} unten und {a} oben",
            "{b} en bas et {a} en haut",
            "{b} abajo y {a} arriba",
        ),
    ),
    "inside": (
        Said("{a} inside {b}", "{a} in {b_dat}", "{a} dans {b}", "{a} dentro de {b}"),
        Said("{b} around {a}", "{b} um {a_acc} herum", "{b} autour de {a}", "{b} alrededor de {a}"),
        Said(
            "{b} that holds {a} inside",
            "{b} mit {a_dat} darin",
            "{b} avec {a} à l'intérieur",
            "{b} con {a} en el interior",
        ),
    ),
}
