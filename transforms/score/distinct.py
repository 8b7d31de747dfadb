"""The distinct pictures, texts and pairs of some rows: what is alike is measured once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

T = TypeVar("T", bound=Hashable)
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Distinct(Generic[T]):
    """Items in the order of their first row, and the number of each row's item: -1 where it has none."""

    items: Sequence[T]
    of_row: Numbers


def number(values: Iterable[T | None]) -> Distinct[T]:
    """Number the distinct values; None is none."""
    found: dict[T, int] = {}
    of_row = [-1 if value is None else found.setdefault(value, len(found)) for value in values]
    return Distinct(list(found), np.array(of_row, np.int64))


def distinct_places(rows: pl.DataFrame) -> Distinct[tuple[str, int, int]]:
    """Where the stored images of rows lie: (spool, offset, size)."""
    places = rows.select("spool", "spool_offset", "stored_bytes").rows()
    return number(None if place[0] is None else place for place in places)


def distinct_texts(rows: pl.DataFrame, columns: Sequence[str]) -> tuple[Sequence[str], Mapping[str, Numbers]]:
    """The texts of several columns together, and by column the number of each row's; a blank one is none."""
    values = [
        None if text is None or not text or text.isspace() else text
        for column in columns
        for text in rows.get_column(column)
    ]
    texts = number(values)
    return texts.items, {
        column: texts.of_row[place * rows.height : (place + 1) * rows.height] for place, column in enumerate(columns)
    }


def distinct_pairs(pictures: Numbers, texts: Numbers) -> Distinct[tuple[int, int]]:
    """Rows that have both, as (number of the picture, number of the text)."""
    both = zip(pictures.tolist(), texts.tolist(), strict=True)
    return number(None if min(pair) < 0 else pair for pair in both)
