"""The rows of a pool with their truth, any slice of them at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmill.pipeline.demo.chance import MAX_SEED
from pairmill.pipeline.demo.faults import EXPECTED, GOOD, KEPT, WANTED
from pairmill.pipeline.demo.forms import picture_path, picture_size
from pairmill.pipeline.demo.grammar import facts_of
from pairmill.pipeline.demo.pairs import EQUAL, Pair, pair_at
from pairmill.pipeline.demo.roster import MIN_ROWS
from pairmill.pipeline.demo.scene import Scene
from pairmill.pipeline.demo.shuffle import Shuffle
from pairmill.sharding.pair import pair_uid

#: Pictures in one folder of a pool of files.
FOLDER_ROWS = 1000
SOURCE, LICENSE = "pairmill-demo", "CC0-1.0"
_TRUTH = (
    *(("planted", pa.string()), ("expect", pa.string()), ("wanted", pa.string())),
    *(("expect_width", pa.int32()), ("expect_height", pa.int32()), ("expect_survivor", pa.int64())),
    *(("object", pa.string()), ("colour", pa.string()), ("count", pa.int8()), ("relation", pa.string())),
    *(("other_object", pa.string()), ("other_colour", pa.string()), ("other_count", pa.int8())),
    *(("background", pa.string()), ("language", pa.string())),
)
#: ``url`` and ``path`` are where the picture is; the one that a pool has not is null.
#: ``planted`` ("": nothing) and what the ledger must say of it: ``expect`` of the demo recipe, ``wanted`` of a full
#: one. ``expect_width`` and ``expect_height``: the original's, where the row is kept. ``expect_survivor``: the number
#: of the row that is kept in place of this repeat. The others are what the picture shows, and the caption's language.
POOL_SCHEMA = pa.schema(
    [
        *(("url", pa.string()), ("path", pa.string()), ("caption", pa.string())),
        *(("source", pa.string()), ("license", pa.string())),
        *_TRUTH,
    ]
)


@dataclass(frozen=True)
class Pool:
    """A pool that can be made row by row: the same fields always give the same rows.

    ``base_url`` is where its pictures are served; None makes a pool of files, whose rows have a path instead.
    ``evaluation`` is the number of pictures in the evaluation set from which some leak in.
    Raises ValueError for fewer than 100 rows and for a seed that is not 0 to 2**31 - 1.
    """

    rows: int
    seed: int = 0
    base_url: str | None = None
    evaluation: int = 100

    def __post_init__(self) -> None:
        if self.rows < MIN_ROWS:
            raise ValueError(f"rows: {self.rows} is too few to hold every planted fault; give {MIN_ROWS} or more")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed: {self.seed} is outside 0..{MAX_SEED}")
        if self.evaluation < 0:
            raise ValueError(f"evaluation: {self.evaluation} is less than no picture; give 0 or more")

    def pairs(self, start: int, stop: int) -> list[Pair]:
        """What rows ``start`` to ``stop`` - 1 hold, in pool order."""
        slots = Shuffle(self.rows, self.seed).slots(np.arange(start, stop, dtype=np.uint64))
        return [self._pair(int(number)) for number in slots]

    def table(self, start: int, stop: int) -> pa.Table:
        """Rows ``start`` to ``stop`` - 1 with their truth, columns as in ``POOL_SCHEMA``."""
        pairs = self.pairs(start, stop)
        rivals = np.array([pair.rival if 0 <= pair.rival < self.rows else 0 for pair in pairs], np.uint64)
        rival_rows = Shuffle(self.rows, self.seed).rows_of(rivals).tolist()
        records = [
            self._record(pair, start + index, rival_row)
            for index, (pair, rival_row) in enumerate(zip(pairs, rival_rows, strict=True))
        ]
        columns = zip(*records, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, POOL_SCHEMA, strict=True)]
        return pa.Table.from_arrays(arrays, schema=POOL_SCHEMA)

    def picture_file(self, row: int) -> str:
        """Where the picture of a row lies in a pool of files, without its ending."""
        return f"{row // FOLDER_ROWS:05}/{row:08}"

    def _pair(self, slot: int) -> Pair:
        return pair_at(self.seed, slot, self.evaluation, web=self.base_url is not None)

    def _place(self, pair: Pair, row: int) -> str:
        """The URL of a pair, or its path in a pool of files."""
        if self.base_url is not None:
            return pair.url(self.seed, self.base_url.rstrip("/"))
        ending = picture_path(self.seed, pair.form, pair.number).rpartition(".")[2]
        return f"{self.picture_file(row)}.{ending}"

    def _record(self, pair: Pair, row: int, rival_row: int) -> tuple[object, ...]:
        place = self._place(pair, row)
        planted, survivor = pair.planted, None
        if 0 <= pair.rival < self.rows:
            planted = self._settled(pair, place, row, rival_row)
            survivor = rival_row if planted != GOOD else None
        expect = EXPECTED[planted]
        size = picture_size(self.seed, pair.form, pair.number) if expect == KEPT else (None, None)
        return (
            *((place, None) if self.base_url is not None else (None, place)),
            *(pair.caption, SOURCE, LICENSE, planted, expect, WANTED.get(planted, expect), *size, survivor),
            *_facts(pair.scene),
            pair.language,
        )

    def _settled(self, pair: Pair, place: str, row: int, rival_row: int) -> str:
        """What is planted in a row whose rival is in the pool: of equal rows, the one that falls is the repeat.

        Of the same rows the first one stays; of others with one URL or the same bytes the one with the smaller uid.
        """
        if pair.planted not in (GOOD, *EQUAL):
            return pair.planted
        rival = self._pair(pair.rival)
        kind = pair.planted or rival.planted
        if kind == "repeated_row":
            return kind if row > rival_row else GOOD
        mine, other = pair_uid(place, pair.caption), pair_uid(self._place(rival, rival_row), rival.caption)
        return kind if mine > other else GOOD


def _facts(scene: Scene | None) -> tuple[object, ...]:
    """Object, colour, count, relation, the same of the other group, and background."""
    if scene is None:
        return (None,) * 8
    facts = facts_of(scene)
    first, second = facts.first, facts.second
    other = (second.thing, second.colour, second.count) if second else (None, None, None)
    return first.thing, first.colour, first.count, facts.relation, *other, scene.background.kind
