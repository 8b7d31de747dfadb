"""The planters: each gives the rows of one planted fault, and the good pairs that it needs beside it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.likeness import hash_distance, is_safe_copy
from pairmill.pipeline.demo.painter import ORIENTATION_TAG, Painter, as_stored
from pairmill.pipeline.demo.planting import Draft
from pairmill.pipeline.demo.scene import recoloured

#: Port 1 of the loopback address: nothing listens there, connections are refused at once.
REFUSING_HOST = "http://127.0.0.1:1"

_WEB_FAULTS = {
    "refused": REFUSING_HOST,
    "status_404": "/gone",
    "status_403": "/odd/status/403",
    "status_500": "/odd/status/500",
    "html": "/odd/html",
    "robots_noai": "/odd/robots/noai",
    "once_429": "/odd/once/429",
    "hops": "/odd/hops/3",
}
_ONE_WORD = ("drawing", "picture", "beautiful", "untitled", "something", "background")
_SHORT = ("a b c", "a b x", "a i x")  # three words, five characters
_SHORTER_SIDE = 200  # of the usual image rules
_SCALES = (0.9, 0.85, 0.8)
_QUALITIES = (75, 60, 50)


def plant(painter: Painter, kind: str, number: int) -> list[Draft]:
    """The rows of the ``number``-th fault of a kind; raises KeyError for a kind that nobody plants here."""
    return _PLANTERS[kind](painter, kind, number)


def _on_web(painter: Painter, kind: str, number: int) -> list[Draft]:
    """A sound picture behind a server that misbehaves."""
    pair, _ = painter.good_pair()
    return [replace(pair, url=_WEB_FAULTS[kind] + pair.url, planted=kind)]


def _repeat(painter: Painter, kind: str, number: int) -> list[Draft]:
    """A pair twice: the same row, or another caption, or another URL of the same bytes."""
    pair, drawn = painter.good_pair()
    again = replace(pair, url=f"{pair.url}?copy={number}") if kind == "same_bytes" else pair
    while kind == "repeated_url" and again.caption == pair.caption:
        again = replace(pair, caption=drawn.say())
    return [pair, again]


def _copy(painter: Painter, kind: str, number: int) -> list[Draft]:
    """A picture and a smaller, or more compressed, copy that is certain to be seen as one."""
    spare: list[Draft] = []
    while True:
        pair, drawn = painter.good_pair()
        copy = drawn.picture
        if kind == "resized":
            scale = _SCALES[number % len(_SCALES)]
            copy = copy.resize((round(copy.width * scale), round(copy.height * scale)), Image.Resampling.LANCZOS)
        body = io.BytesIO()
        copy.save(body, "JPEG", quality=_QUALITIES[number % len(_QUALITIES)])
        sound = min(copy.size) >= _SHORTER_SIDE and len(body.getvalue()) < pair.size
        if sound and is_safe_copy((painter.folder / pair.content).read_bytes(), body.getvalue()):
            break
        spare.append(pair)  # a good pair in its own right
    twin = replace(painter.write(body.getvalue(), "jpg", copy.size), planted=kind, caption=drawn.say())
    return [replace(pair, look=pair.content), replace(twin, look=pair.content), *spare]


def _recoloured(painter: Painter, kind: str, number: int) -> list[Draft]:
    """Two pictures with the same outlines in other colours: hashes nearly equal, pictures different."""
    spare: list[Draft] = []
    while True:
        pair, drawn = painter.good_pair()
        others = [recoloured(drawn.scene, drawn.rng) for _ in range(12)]
        nearest = min(others, key=lambda other: hash_distance(drawn.picture, draw_scene(other)))
        shown = replace(drawn, scene=nearest, picture=draw_scene(nearest))
        if painter.gallery.add_if_new(shown.picture):
            return [pair, replace(painter.save(shown.picture), planted=kind, caption=shown.say()), *spare]
        spare.append(pair)


def _blank(painter: Painter, kind: str, number: int) -> list[Draft]:
    """Pictures of nothing, all alike: they have no outlines to compare, and none counts as a copy of another."""
    side = 224 + 8 * number
    draft = painter.save(Image.new("RGB", (side, side), (150, 160, 170)))
    return [replace(draft, planted=kind, caption="an empty wall in the morning light")]


def _bad_caption(painter: Painter, kind: str, number: int) -> list[Draft]:
    """A bad caption; every other one beside a good row of the same URL, which must not be lost with it."""
    pair, drawn = painter.good_pair()
    caption: str | None = None
    if kind in ("german", "french"):
        caption = drawn.say({"german": "de", "french": "fr"}[kind])
    elif kind == "one_word":
        caption = _ONE_WORD[number % len(_ONE_WORD)]
    elif kind == "short":
        caption = _SHORT[number % len(_SHORT)]
    bad = replace(pair, planted=kind, caption=caption)
    return [pair, bad] if number % 2 else [bad]


def _truncated(painter: Painter, kind: str, number: int) -> list[Draft]:
    """A JPEG that ends after three to seven tenths."""
    drawn = painter.draw()
    body = io.BytesIO()
    drawn.picture.save(body, "JPEG", quality=92)
    draft = painter.write(body.getvalue()[: len(body.getvalue()) * (3 + number % 5) // 10], "jpg")
    return [replace(draft, planted=kind, caption=drawn.say())]


def _unwanted_size(painter: Painter, kind: str, number: int) -> list[Draft]:
    """A picture that decodes, and that the image rules drop."""
    drawn = painter.draw()
    picture, ending = drawn.picture, "jpg"
    if kind == "one_pixel":
        picture, ending = picture.resize((1, 1)), "png"
    elif kind == "tiny":
        picture = picture.resize((picture.width // 5, picture.height // 5))
    else:
        strip = picture.crop((0, 0, picture.width, picture.width // 4))
        picture = strip.resize((920 + number, 230), Image.Resampling.LANCZOS)
    return [replace(painter.save(picture, ending), planted=kind, caption=drawn.say())]


def _other_format(painter: Painter, kind: str, number: int) -> list[Draft]:
    pair, _ = painter.good_pair(kind)
    return [replace(pair, planted=kind)]


def _exif(painter: Painter, kind: str, number: int) -> list[Draft]:
    """A picture stored on its side or mirrored, with the note that says so."""
    drawn = painter.draw()
    orientation = 2 + number % 7
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    draft = painter.save(as_stored(drawn.picture, orientation), exif=exif.tobytes())
    width, height = drawn.picture.size
    return [replace(draft, planted=kind, caption=drawn.say(), width=width, height=height)]


_PLANTERS: dict[str, Callable[[Painter, str, int], list[Draft]]] = {
    **dict.fromkeys(_WEB_FAULTS, _on_web),
    **dict.fromkeys(("repeated_row", "repeated_url", "same_bytes"), _repeat),
    **dict.fromkeys(("resized", "recompressed"), _copy),
    **dict.fromkeys(("null_caption", "one_word", "short", "german", "french"), _bad_caption),
    **dict.fromkeys(("one_pixel", "tiny", "strip"), _unwanted_size),
    **dict.fromkeys(("png", "webp"), _other_format),
    "recoloured": _recoloured,
    "blank": _blank,
    "truncated": _truncated,
    "exif": _exif,
}
