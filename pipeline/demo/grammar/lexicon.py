"""What a language must know to speak of a scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pairmill.pipeline.demo.scene import Background, Group


@dataclass(frozen=True)
class Noun:
    """One thing: singular, plural and gender (``m``, ``f``, ``n``)."""

    one: str
    many: str
    gender: str = "n"


@dataclass(frozen=True)
class Language:
    """The words of one language, and how they are put together.

    ``group(group, in_full, case)`` names things; in full, with size (of single things: many are made to fit) and
    texture; the case (``nom``, ``dat``, ``acc``) matters in German only. ``place(background, way)`` has two ways.
    ``finish`` mends a whole sentence. The others are the forms in which a caption may hold a word.
    """

    code: str
    group: Callable[[Group, bool, str], str]
    place: Callable[[Background, int], str]
    finish: Callable[[str], str]
    nouns: Mapping[str, Noun]
    colour_forms: Mapping[str, tuple[str, ...]]
    number_forms: tuple[tuple[str, ...], ...]
    colour_first: bool
