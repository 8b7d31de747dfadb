"""What a lane tells of the texts that it wrote, for the report."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import polars as pl

from pairmill.sharding.mirror import listed
from pairmill.sharding.publish import publish_bytes
from pairmill.transforms.words.writing import WordsCount


@dataclass
class RecycleCount:
    """Rows that the rules on captions rejected, and those of them that a new text saved: reason → rows."""

    spoiled: dict[str, int] = field(default_factory=dict)
    recycled: dict[str, int] = field(default_factory=dict)

    def add(self, reasons: pl.Series, recycled: pl.Series) -> None:
        """Count the rows of a batch: why each was rejected (null where it was not), and whether a text saved it."""
        self._count(self.spoiled, reasons)
        self._count(self.recycled, reasons.filter(recycled))

    def merge(self, other: RecycleCount) -> None:
        """Add another count."""
        self.spoiled = dict(sorted((Counter(self.spoiled) + Counter(other.spoiled)).items()))
        self.recycled = dict(sorted((Counter(self.recycled) + Counter(other.recycled)).items()))

    def _count(self, counts: dict[str, int], reasons: pl.Series) -> None:
        for reason, rows in reasons.drop_nulls().value_counts().iter_rows():
            counts[reason] = counts.get(reason, 0) + rows


def save_recycled(count: RecycleCount, folder: Path, lane: int) -> None:
    """Write it where ``all_recycled`` looks for it."""
    folder.mkdir(parents=True, exist_ok=True)
    publish_bytes(folder / f"{lane:06d}.json", json.dumps(asdict(count)).encode())


def all_recycled(folder: Path) -> RecycleCount:
    """What all lanes recycled, put together."""
    total = RecycleCount()
    for path in listed(folder, "*.json"):
        total.merge(RecycleCount(**json.loads(path.read_bytes())))
    return total


def save_count(count: WordsCount, folder: Path, lane: int) -> None:
    """Write it where ``all_counts`` looks for it."""
    folder.mkdir(parents=True, exist_ok=True)
    publish_bytes(folder / f"{lane:06d}.json", json.dumps(asdict(count)).encode())


def all_counts(folder: Path) -> WordsCount:
    """What all lanes told, put together."""
    total = WordsCount()
    for path in listed(folder, "*.json"):
        total.add(WordsCount(**json.loads(path.read_bytes())))
    return total
