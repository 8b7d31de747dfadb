"""Which slot of a pool holds which planted fault: the same 200 slots again and again."""

from __future__ import annotations

from typing import NamedTuple

from pairmill.pipeline.demo.faults import GOOD

CYCLE = 200
#: A pool of so many rows holds one of each fault.
MIN_ROWS = CYCLE // 2

#: Faults that only a web server can have.
WEB_FAULTS: dict[str, int] = {
    "status_404": 4,
    "status_403": 1,
    "status_500": 1,
    "refused": 1,
    "once_429": 1,
    "hops": 1,
    "html": 2,
    "robots_noai": 1,
}
#: Of 200 rows, how many hold each planted fault.
SHARES: dict[str, int] = {
    **WEB_FAULTS,
    # captions
    "mismatched": 4,
    "wrong_colour": 2,
    "wrong_count": 2,
    "wrong_object": 2,
    "wrong_relation": 2,
    "boilerplate": 2,
    "file_name": 1,
    "one_word": 2,
    "short": 1,
    "null_caption": 2,
    "german": 3,
    "french": 3,
    "spanish": 3,
    # repeats and copies
    "repeated_row": 1,
    "repeated_url": 4,
    "same_bytes": 4,
    "resized": 4,
    "recompressed": 4,
    "cropped": 2,
    "mirrored": 2,
    "watermarked": 2,
    "recoloured": 2,
    "recounted": 2,
    "blank": 1,
    # pictures
    "truncated": 2,
    "garbage": 1,
    "empty": 1,
    "one_pixel": 1,
    "tiny": 2,
    "strip": 1,
    "exif": 1,
    "png": 2,
    "webp": 2,
    "leaked": 2,
    "leaked_copy": 1,
}
#: These repeat or resemble the good pair in the slot before them. Of the resized and recompressed ones, one in a
#: thousand is not found: its perceptual hash is 4 bits from its original's (6 of 6,000; see ``draw._KNOTS``).
PAIRED = (
    *("repeated_row", "repeated_url", "same_bytes", "resized", "recompressed"),
    *("cropped", "mirrored", "watermarked", "recoloured", "recounted"),
)
#: The second one of these in a cycle has the picture of the good pair before it, which must not be lost with it.
BESIDE_GOOD = ("german", "french", "spanish", "one_word", "null_caption")


class Slot(NamedTuple):
    """A place in a pool: what is planted there, the how manieth of its kind, and the good slot it goes with (-1: none).

    A good slot that another one repeats or resembles names that one's kind as ``companion``.
    """

    kind: str
    ordinal: int
    original: int = -1
    companion: str = GOOD


def slot(number: int) -> Slot:
    """What slot ``number`` holds."""
    cycle, place = divmod(number, CYCLE)
    kind, ordinal, original, companion = _SLOTS[place]
    start = cycle * CYCLE
    return Slot(kind, cycle * SHARES.get(kind, 0) + ordinal, start + original if original >= 0 else -1, companion)


def _one_cycle() -> list[Slot]:
    """One of each fault in the first half, the others in the second; good pairs fill up both."""
    slots: list[Slot] = []
    for first, last in ((0, 1), (1, max(SHARES.values()))):
        for kind, share in SHARES.items():
            for ordinal in range(first, min(last, share)):
                if kind in PAIRED or (kind in BESIDE_GOOD and ordinal == 1):
                    slots.append(Slot(GOOD, 0, companion=kind))
                    slots.append(Slot(kind, ordinal, original=len(slots) - 1))
                else:
                    slots.append(Slot(kind, ordinal))
        limit = CYCLE // 2 if last == 1 else CYCLE
        if len(slots) > limit:
            raise ValueError(f"the planted faults take {len(slots)} of {limit} slots; lower their shares")
        slots += [Slot(GOOD, 0)] * (limit - len(slots))
    return slots


_SLOTS = _one_cycle()
