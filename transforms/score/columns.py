"""From what models made of distinct items to the columns of rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.embeddings import pack_fp16
from pairmill.transforms.score.distinct import Numbers
from pairmill.transforms.score.measured_items import MeasuredItems
from pairmill.transforms.score.scorer import NO_IMAGE, NO_TEXT, NOT_FINITE, Scorer, column_name

Vectors = npt.NDArray[np.float32]
Outcomes = list[str | None]
Columns = dict[str, pl.Series]

#: Rows whose vectors are multiplied in one go: they stay in the processor's cache.
_TOGETHER = 256


def item_columns(name: str, items: MeasuredItems, of_row: Numbers, outcomes: Outcomes) -> Columns:
    """A column for each measure of items, null where there is none, and the column of outcomes.

    ``outcomes``: why rows have no item, or its picture no pixels; the items' own are added.
    """
    there = _there(items, of_row)
    columns = {
        f"{name}_{measure}": _series(values, of_row, there)
        for measure, values in items.values.items()
        if values.ndim == 1
    }
    return columns | {f"{name}_outcome": pl.Series(_merged(outcomes, _of_items(items, of_row)), dtype=pl.String)}


def text_columns(name: str, items: MeasuredItems, of_row: Mapping[str, Numbers]) -> Columns:
    """The same for each text column, whose names the measures carry; the first text's outcomes have no suffix."""
    columns: Columns = {}
    for place, (text, numbers) in enumerate(of_row.items()):
        outcomes = _merged(why_absent(numbers, NO_TEXT), _of_items(items, numbers))
        there = _there(items, numbers)
        for measure, values in items.values.items():
            columns[column_name(name, measure, text)] = _series(values, numbers, there)
        columns[outcome_column(name, text, place)] = pl.Series(outcomes, dtype=pl.String)
    return columns


@dataclass(frozen=True)
class Rows:
    """What was made of items, the number of each row's item, and why a row has none (its picture no pixels)."""

    items: MeasuredItems
    of_row: Numbers
    absent: Outcomes


def encoder_columns(
    name: str,
    pictures: Rows,
    texts: MeasuredItems,
    text_of_row: Mapping[str, Numbers],
    cut: Numbers,
    wanted: Collection[str],
) -> Columns:
    """Cosines of pictures with each text, tokens cut off, outcomes, and embeddings where they are among ``wanted``."""
    units = {measure: unit_vectors(pictures.items, measure) for measure in pictures.items.values}
    text_units = unit_vectors(texts, "text") if texts.values else np.zeros((0, 1), np.float32)
    picture, has_picture = pictures.of_row, _there(pictures.items, pictures.of_row)
    image_outcomes = _merged(pictures.absent, _of_items(pictures.items, picture))
    columns: Columns = {f"{name}_outcome": pl.Series(image_outcomes, dtype=pl.String)}
    if (column := f"{name}_image_embedding") in wanted and "image" in units:
        columns[column] = _embeddings(units["image"], picture, has_picture)
    for place, (text, numbers) in enumerate(text_of_row.items()):
        has_text = _there(texts, numbers)
        both = has_picture & has_text
        for measure, told in (("image", "similarity"), ("mirrored", "mirrored_similarity")):
            if measure in units:
                cosines = _cosines(units[measure], picture, text_units, numbers, both)
                columns[column_name(name, told, text)] = _masked(cosines, both)
        tokens = np.minimum(cut[numbers], 65_535) if len(cut) else np.zeros(len(numbers))
        columns[column_name(name, "tokens_cut", text)] = _masked(tokens, numbers >= 0)
        if (column := column_name(name, "text_embedding", text)) in wanted:
            columns[column] = _embeddings(text_units, numbers, has_text)
        outcomes = _merged(image_outcomes, why_absent(numbers, NO_TEXT), _of_items(texts, numbers))
        columns[outcome_column(name, text, place)] = pl.Series(outcomes, dtype=pl.String)
    return columns


def outcome_column(name: str, text: str, place: int) -> str:
    """Where it stands why there is no score of a text, the ``place``-th of its scorer; the first has no suffix."""
    return f"{name}_outcome" if place == 0 else column_name(name, "outcome", text)


def why_absent(of_row: Numbers, outcome: str) -> Outcomes:
    """The outcome where a row has no item."""
    return [outcome if item < 0 else None for item in of_row.tolist()]


def why_no_pixels(picture: Numbers, failures: Sequence[str | None]) -> Outcomes:
    """Why a row has no picture, or its picture no pixels."""
    return [NO_IMAGE if item < 0 else failures[item] for item in picture.tolist()]


def unit_vectors(items: MeasuredItems, measure: str) -> Vectors:
    """Embeddings of length 1; items that have none become ``not_finite``, the others' rows are zeros."""
    vectors = items.values[measure].astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    empty = np.flatnonzero(items.measured & (lengths == 0))
    items.measured[empty] = False
    items.fail(empty.tolist(), NOT_FINITE)
    lengths[lengths == 0] = 1.0
    units: Vectors = (vectors / lengths[:, None]).astype(np.float32)
    return units


def finished(scorer: Scorer, name: str, row_ids: pl.Series, columns: Columns) -> pl.DataFrame:
    """``row_id`` and the columns that the scorer promises, of its types; all null where a pass gave nothing."""
    series = [row_ids.alias("row_id")]
    for column, dtype in scorer.columns(name).items():
        found = columns.get(column)
        if found is None:
            found = pl.Series([None] * len(row_ids), dtype=dtype)
        series.append(found.cast(dtype).alias(column))
    return pl.DataFrame(series)


def _there(items: MeasuredItems, of_row: Numbers) -> npt.NDArray[np.bool_]:
    """Which rows have an item that was measured."""
    if not len(items.measured):
        return np.zeros(len(of_row), np.bool_)
    return (of_row >= 0) & items.measured[of_row]


def _of_items(items: MeasuredItems, of_row: Numbers) -> Outcomes:
    return [None if item < 0 else items.outcomes[item] for item in of_row.tolist()]


def _merged(*outcomes: Outcomes) -> Outcomes:
    """Of each row the first that there is."""
    return [next((told for told in row if told is not None), None) for row in zip(*outcomes, strict=True)]


def _series(values: npt.NDArray[np.generic], of_row: Numbers, there: npt.NDArray[np.bool_]) -> pl.Series:
    return _masked(values[of_row] if len(values) else np.zeros(len(of_row)), there)


def _masked(values: npt.NDArray[np.generic], there: npt.NDArray[np.bool_]) -> pl.Series:
    series = pl.Series(np.ascontiguousarray(values))
    absent = pl.Series([None], dtype=series.dtype)
    return series.zip_with(pl.Series(there), absent.new_from_index(0, len(series)))


def _embeddings(units: Vectors, of_row: Numbers, there: npt.NDArray[np.bool_]) -> pl.Series:
    if not len(units):
        return pl.Series([None] * len(of_row), dtype=pl.Binary)
    return pack_fp16(units.astype(np.float16)[of_row], there)


def _cosines(
    images: Vectors, picture: Numbers, texts: Vectors, text: Numbers, both: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """The cosine of each row that has both, summed in double precision; zeros elsewhere."""
    cosines = np.zeros(len(picture), np.float32)
    rows = np.flatnonzero(both)
    for start in range(0, len(rows), _TOGETHER):
        some = rows[start : start + _TOGETHER]
        products = images[picture[some]].astype(np.float64) * texts[text[some]]
        cosines[some] = products.sum(axis=1)
    return cosines
