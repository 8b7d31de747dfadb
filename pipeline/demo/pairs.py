"""The pairs of a pool by the number of their slot: picture, caption, what is planted and what must become of it.

A pair is found from seed, slot and the size of the evaluation set alone: any slice of a pool can be made anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pairmill.pipeline.demo.faults import GOOD
from pairmill.pipeline.demo.forms import picture_path, scene_shown
from pairmill.pipeline.demo.grammar import caption
from pairmill.pipeline.demo.misstated import misstated, other_scene, said_of_nothing
from pairmill.pipeline.demo.roster import BESIDE_GOOD, WEB_FAULTS, Slot, slot
from pairmill.pipeline.demo.scene import Scene

#: Port 1 of the loopback address: nothing listens there, connections are refused at once.
REFUSING_HOST = "http://127.0.0.1:1"
#: What the address of a picture begins with, where its server misbehaves.
_ROUTES = {
    "refused": REFUSING_HOST,
    "status_404": "/gone",
    "status_403": "/odd/status/403",
    "status_500": "/odd/status/500",
    "html": "/odd/html",
    "robots_noai": "/odd/robots/noai",
    "once_429": "/odd/once/429",
    "hops": "/odd/hops/3",
}
_LANGUAGES = {"german": "de", "french": "fr", "spanish": "es"}
#: Copies: form of the good picture that they are like (``plain`` where none is named).
_ORIGINALS = {"recoloured": "roomy", "recounted": "roomy"}
#: Kinds whose picture has a form of the kind's own name.
_OWN_FORMS = (
    *(
        "resized",
        "recompressed",
        "cropped",
        "mirrored",
        "watermarked",
        "recoloured",
        "recounted",
        "blank",
        "leaked_copy",
    ),
    *("truncated", "garbage", "empty", "one_pixel", "tiny", "strip", "exif", "png", "webp"),
)
#: Kinds that the demo recipe finds to be the same as their original; of the first three, either one may be kept.
EQUAL = ("repeated_row", "repeated_url", "same_bytes")
REPEATS = (*EQUAL, "resized", "recompressed")
BLANK_CAPTION = "an empty wall in the morning light"
#: Each second picture of an evaluation set is leaked, each of those once at most.
LEAKED_ONE_IN = 2


@dataclass(frozen=True)
class Pair:
    """One row of a pool before anybody knows where its pictures are served.

    ``form`` and ``number`` name the picture; ``route`` is what a server is asked for before its address and ``query``
    what follows it. ``scene`` is what the picture shows (None: nothing), ``language`` that of the caption (None: no
    sentence). ``rival`` is the slot that a duplicate step finds the same as this one, so that one of the two falls;
    -1 where there is none. It may be a slot behind the end of the pool.
    """

    slot: int
    planted: str
    form: str
    number: int
    caption: str | None
    language: str | None
    scene: Scene | None
    route: str = ""
    query: str = ""
    rival: int = -1

    def url(self, seed: int, base_url: str) -> str:
        """The pair's address on the server at ``base_url`` (without a final slash)."""
        route = self.route if self.route.startswith("http") else base_url + self.route
        return f"{route}/{picture_path(seed, self.form, self.number)}{self.query}"


def pair_at(seed: int, number: int, evaluation: int = 0, web: bool = True) -> Pair:
    """The pair in slot ``number``.

    ``evaluation`` is the number of pictures in the evaluation set; more than half of it cannot leak, and slots meant
    for further ones hold good pairs. Without ``web`` nothing is planted that only a server can do, and a repeated
    row or URL becomes one of the same bytes.
    """
    held = slot(number)
    leak = held.kind in ("leaked", "leaked_copy")
    if (not web and held.kind in WEB_FAULTS) or (leak and _leaked_number(held) >= evaluation):
        held = Slot(GOOD, 0)
    if held.original >= 0:
        return _companion(seed, number, held, web)
    return _single(seed, number, held)


def _leaked_number(held: Slot) -> int:
    """The picture of the evaluation set that this slot has: three slots of a cycle, none of them the same one."""
    place = held.ordinal // 2 * 3 + held.ordinal % 2 if held.kind == "leaked" else held.ordinal * 3 + 2
    return place * LEAKED_ONE_IN


def _single(seed: int, number: int, held: Slot) -> Pair:
    """A pair that is like no other one."""
    kind, form = held.kind, "plain"
    if kind == GOOD:
        form = _ORIGINALS.get(held.companion, "plain")
    elif kind in _OWN_FORMS:
        form = kind
    elif kind == "leaked":
        form = "evaluation"
    elif kind == "wrong_relation":
        form = "two_groups"
    picture = number
    if kind == "blank":
        picture = held.ordinal
    elif kind in ("leaked", "leaked_copy"):
        picture = _leaked_number(held)
    scene = scene_shown(seed, form, picture)
    text, language = _said(seed, number, held, scene)
    rival = number + 1 if held.companion in EQUAL else -1
    return Pair(number, kind, form, picture, text, language, scene, route=_ROUTES.get(kind, ""), rival=rival)


def _said(seed: int, number: int, held: Slot, scene: Scene | None) -> tuple[str | None, str | None]:
    """Caption and language."""
    kind = held.kind
    if scene is None:
        return BLANK_CAPTION, "en"
    if kind == "null_caption":
        return None, None
    if kind in ("boilerplate", "file_name", "one_word", "short"):
        return said_of_nothing(kind, held.ordinal), "en" if kind == "boilerplate" else None
    if kind == "mismatched":
        return caption(other_scene(seed, number, scene)), "en"
    if kind.startswith("wrong_"):
        return caption(misstated(scene, kind.removeprefix("wrong_"))), "en"
    language = _LANGUAGES.get(kind, "en")
    return caption(scene, language), language


def _companion(seed: int, number: int, held: Slot, web: bool) -> Pair:
    """A pair that repeats or resembles the good one in another slot."""
    first = _single(seed, held.original, slot(held.original))
    kind = held.kind
    pair = replace(first, slot=number, planted=kind, rival=held.original if kind in REPEATS else -1)
    if kind in BESIDE_GOOD:  # the same picture, and nobody's copy
        assert first.scene is not None
        text, language = _said(seed, number, held, first.scene)
        return replace(pair, caption=text, language=language)
    if kind in EQUAL:
        text = _said_again(first) if kind == "repeated_url" else first.caption
        if not web:
            return replace(pair, caption=text, planted="same_bytes")
        return replace(pair, caption=text, query="?copy=1" if kind == "same_bytes" else "")
    scene = scene_shown(seed, kind, first.number)
    assert scene is not None
    pair = replace(pair, form=kind, scene=scene)
    if kind in ("recoloured", "recounted"):
        return replace(pair, caption=caption(scene))
    return replace(pair, caption=_said_again(first))


def _said_again(pair: Pair) -> str:
    """Another true caption."""
    assert pair.scene is not None
    texts = (caption(pair.scene, "en", variant) for variant in range(1, 100))
    return next(text for text in texts if text != pair.caption)
