"""The columns that a scorer of texts alone promises: its measures for each text, and why there is none."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from pairmill.transforms.score.columns import outcome_column
from pairmill.transforms.score.scorer import column_name


def measures_of_texts(name: str, measures: Mapping[str, pl.DataType], texts: tuple[str, ...]) -> dict[str, pl.DataType]:
    """For each text the columns of the measures, by their types, and the column of outcomes."""
    columns: dict[str, pl.DataType] = {}
    for place, text in enumerate(texts):
        columns |= {column_name(name, measure, text): dtype for measure, dtype in measures.items()}
        columns[outcome_column(name, text, place)] = pl.String()
    return columns


def check_texts(kind: str, texts: tuple[str, ...]) -> None:
    """Raises ValueError where the text columns of a scorer are not several names, or one of them stands twice."""
    if not texts or not all(text.strip() for text in texts):
        raise ValueError(f"{kind}: texts is {list(texts)}; name the text columns to read, such as [caption]")
    if len(set(texts)) < len(texts):
        raise ValueError(f"{kind}: texts names a column twice")
