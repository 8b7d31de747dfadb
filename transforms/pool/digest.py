"""The digest of a block's rows: over their values, so that no library's memory or file layout can change it."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pyarrow as pa


def digest_block(block: pl.DataFrame) -> str:
    """128 bits of blake2b over a block's column names, types and values in row order, as 32 hex digits.

    Each column is told as its name, its kind, which rows are null, and its values: numbers as little-endian bytes
    (NaN as one NaN), booleans as bytes, text as UTF-8 lengths and bytes, dates and times as their whole numbers.
    Raises ValueError for a column of a nested or binary type, which no block has.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(block.height.to_bytes(8, "little"))
    for series in block.iter_columns():
        kind, values, parts = _told(series)
        for told in (series.name.encode(), kind.encode()):
            digest.update(len(told).to_bytes(8, "little") + told)
        digest.update(np.packbits(values.is_null().to_numpy()).tobytes())
        for part in parts:
            digest.update(part)
    return digest.hexdigest()


def _told(series: pl.Series) -> tuple[str, pl.Series, list[bytes | memoryview]]:
    """The kind of a column, the column, and its values as bytes, null as zero or empty."""
    dtype = series.dtype
    if dtype == pl.String:
        return "string", series, _text(series)
    if dtype == pl.Boolean:
        return "bool", series, [series.fill_null(False).to_numpy().astype(np.uint8).tobytes()]
    if dtype.is_float():
        values = series.fill_null(0.0).fill_nan(float("nan")).to_numpy()
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
        return f"float{values.itemsize}", series, [_little(values)]
    if dtype.is_integer():
        return str(dtype.base_type()).lower(), series, [_little(series.fill_null(0).to_numpy())]
    if isinstance(dtype, pl.Decimal):
        text = series.cast(pl.String)
        return f"decimal{dtype.scale}", text, _text(text)
    if dtype.is_temporal():
        unit, zone = getattr(dtype, "time_unit", None), getattr(dtype, "time_zone", None)
        name = type(dtype).__name__.lower()
        return f"{name}/{unit}/{zone}", series, [_little(series.to_physical().fill_null(0).to_numpy())]
    raise ValueError(f"column {series.name!r} is {dtype}; blocks hold no such column")


def _little(values: np.ndarray) -> bytes:
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _text(series: pl.Series) -> list[bytes | memoryview]:
    lengths = series.str.len_bytes().fill_null(0).to_numpy().astype("<i8")
    array = series.fill_null("").to_arrow().cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = array.buffers()[2]
    if data is None or not len(array):
        return [lengths.tobytes()]
    return [lengths.tobytes(), memoryview(data)[int(offsets[0]) : int(offsets[-1])]]
