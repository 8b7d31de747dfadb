"""A contact sheet: pictures side by side, each with its caption and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from pairmill.pipeline.page.element import element, shortened
from pairmill.pipeline.page.thumbnail import NoPicture, thumbnail

CAPTION_CHARACTERS = 300
FACT_CHARACTERS = 90


@dataclass(frozen=True)
class Tile:
    """A pair on a sheet. ``image`` is the stored picture, or None, and then ``absent`` says why there is none, as
    ``no_caption`` does of the caption.

    ``beside`` is a second picture (the one that is kept instead), ``beside_name`` what it is. A ``veiled`` picture is
    blurred until it is pointed at.
    """

    name: str
    caption: str | None
    facts: tuple[str, ...] = ()
    image: bytes | None = None
    absent: str = "no image"
    no_caption: str = "no caption"
    beside: bytes | None = None
    beside_name: str = ""
    veiled: bool = False


def contact_sheet(tiles: Sequence[Tile], name: str) -> Element:
    """A list of figures; ``name`` says what they are to those who hear the page.

    Where none has a picture, words alone stand there, and why there is none is left to the one who asks.
    """
    wordy = all(tile.image is None and tile.beside is None for tile in tiles)
    listed = (element("li", *_told(tile)) if wordy else element("li", _figure(tile)) for tile in tiles)
    return element("ul", *listed, class_="sheet wordy" if wordy else "sheet", aria_label=name)


def _figure(tile: Tile) -> Element:
    pictures = [_picture(tile.image, f"Image of {tile.name}", tile.absent, tile.veiled)]
    if tile.beside is not None:
        pictures.append(_picture(tile.beside, tile.beside_name, "", tile.veiled))
    return element(
        "figure",
        element("div", *pictures, class_="pictures"),
        element("figcaption", *_told(tile)),
        tabindex="0" if tile.veiled else None,
    )


def _told(tile: Tile) -> list[Element]:
    if tile.caption:
        # A caption may be in any script: its direction is its own, and reaches no neighbour.
        words = element("span", shortened(tile.caption, CAPTION_CHARACTERS), class_="words", dir="auto")
    else:
        words = element("span", tile.no_caption, class_="words absent")
    return [words, *(element("small", shortened(fact, FACT_CHARACTERS), dir="auto") for fact in tile.facts)]


def _picture(image: bytes | None, alt: str, absent: str, veiled: bool) -> Element:
    if image is not None:
        try:
            source = thumbnail(image)
        except NoPicture as reason:
            return element("div", str(reason), class_="none")
        return element("img", src=source, alt=shortened(alt, FACT_CHARACTERS), class_="veiled" if veiled else None)
    return element("div", absent, class_="none")
