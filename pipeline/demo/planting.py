"""From drafts of rows to a pool with its truth: which row of equal pictures must survive, and why each other falls.

The rule followed here is the one that the pipeline states: of duplicates, the row with the largest original area
survives, then the most fetched bytes, then the smallest uid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from pairmill.pipeline.demo.faults import EXPECTED, GOOD, KEPT, NEAR_COPIES
from pairmill.sharding.pair import pair_uid


@dataclass(frozen=True)
class Draft:
    """One row before the server's address is known.

    ``url`` that begins with "/" is on the server of the pool; any other is taken as it stands. Rows of one
    ``content`` have the same bytes, rows of one ``look`` are near duplicates; "" is like nothing else. ``width`` and
    ``height`` are those of the oriented original, 0 where nothing decodes; ``size`` is in bytes.
    """

    url: str
    caption: str | None
    planted: str = GOOD
    content: str = ""
    look: str = ""
    width: int = 0
    height: int = 0
    size: int = 0
    source: str = ""
    license: str = ""


POOL_SCHEMA: dict[str, pl.DataType] = {
    "url": pl.String(),
    "caption": pl.String(),
    "source": pl.String(),
    "license": pl.String(),
    "planted": pl.String(),
    "expect": pl.String(),
    "expect_width": pl.Int32(),
    "expect_height": pl.Int32(),
    "expect_survivor": pl.Int64(),
}


def settle(drafts: Sequence[Draft], base_url: str) -> pl.DataFrame:
    """The pool in the order of ``drafts``, with its truth, columns as in ``POOL_SCHEMA``.

    ``planted`` and ``expect`` say what each row is and the reason that the ledger must give it (or ``kept``);
    ``expect_width`` and ``expect_height`` are the original's size where the row is kept; ``expect_survivor`` is the
    row number that is kept instead of a duplicate, else null (of a repeated row it is the first such row, which may
    itself be a duplicate). A repeated row, a repeated URL and equal bytes mark the row that loses, whichever was
    drafted as the copy. Raises ValueError for a kind that ``EXPECTED`` does not know.
    """
    if unknown := sorted({draft.planted for draft in drafts} - EXPECTED.keys()):
        raise ValueError(f"unknown kinds of planted rows: {', '.join(unknown)}; see faults.EXPECTED")
    rows = [replace(d, url=base_url.rstrip("/") + d.url) if d.url.startswith("/") else d for d in drafts]
    lost = _lost_rows(rows)
    records = []
    for number, row in enumerate(rows):
        planted, winner = lost.get(number, (row.planted, None))
        while winner in lost and planted != "repeated_row":
            winner = lost[winner][1]
        expect = EXPECTED[planted]
        size = (row.width, row.height) if expect == KEPT else (None, None)
        records.append((row.url, row.caption, row.source, row.license, planted, expect, *size, winner))
    return pl.DataFrame(records, schema=POOL_SCHEMA, orient="row")


def _lost_rows(rows: Sequence[Draft]) -> dict[int, tuple[str, int]]:
    """Row number → (kind of repeat, row number of the winner), for each row that loses to an equal one."""
    stages: tuple[tuple[str, Callable[[Draft], str]], ...] = (
        ("repeated_url", lambda row: row.url),
        ("same_bytes", lambda row: row.content),
        ("", lambda row: row.look),
    )
    lost: dict[int, tuple[str, int]] = {}
    alive = [n for n, row in enumerate(rows) if EXPECTED[row.planted] == KEPT or row.planted in NEAR_COPIES]
    first: dict[tuple[str, str | None], int] = {}
    for number in alive:
        winner = first.setdefault((rows[number].url, rows[number].caption), number)
        if winner != number:
            lost[number] = ("repeated_row", winner)
    for kind, key in stages:
        groups: dict[str, list[int]] = {}
        for number in alive:
            if number not in lost and key(rows[number]):
                groups.setdefault(key(rows[number]), []).append(number)
        for members in groups.values():
            best = min(members, key=lambda number: _rank(rows[number]))
            for number in members:
                if number != best:
                    lost[number] = (kind or rows[number].planted, best)
    return lost


def _rank(row: Draft) -> tuple[int, int, str]:
    return (-row.width * row.height, -row.size, pair_uid(row.url, row.caption))
