"""Lists of values in files, as people keep them: blocked URLs, hashes of images, words, uids."""

from __future__ import annotations

import codecs
import functools
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.hex_digits import hex_texts
from pairmill.sharding.mirror import fetched, open_place
from pairmill.sharding.object_store import is_url

#: A separator of columns for a reader of tables that is to see one column.
_NO_TEXT = b"\x01"
_DATACOMP_UID = np.dtype("u8,u8")


@dataclass(frozen=True)
class ListFile:
    """A list in a file, known by its digest: ``sha256`` is of the file when the recipe was read.

    The name's ending says what it holds: ``.parquet`` one column, ``.npy`` the uids of a DataComp subset (dtype
    ``u8,u8``), ``.json`` an array of strings (MetaCLIP's metadata), anything else UTF-8 text with one value a line.
    White space around a value is no part of it, and a line without a value is none.
    """

    file: str
    sha256: str


def list_file(path: str | Path) -> ListFile:
    """The list in the file at ``path``, which is read once for its digest. Raises ValueError when it cannot be."""
    try:
        there = _local(path)
        stat = there.stat()
        return ListFile(str(path), _sha256(str(there), stat.st_size, stat.st_mtime_ns))
    except OSError as error:
        raise ValueError(f"there is no list {path} to read ({error.strerror}); name a file that is there") from error


def _local(file: str | Path) -> Path:
    """The file by which this process reads a list, which may be an object of a store."""
    if not is_url(file):
        return Path(file)
    folder, _, name = str(file).rpartition("/")
    return fetched(open_place(folder) / name)


@functools.lru_cache(maxsize=32)
def _sha256(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_list(listed: ListFile) -> pl.Series:
    """The values of a list, String, in the file's order. Not cached: what is made of them should be.

    Raises PairmillError when the file is no longer what it was, ValueError when it holds no list.
    """
    try:
        data = _local(listed.file).read_bytes()
    except OSError as error:
        raise PairmillError(f"the list {listed.file}: {error.strerror}; put it back and run the same again") from error
    if hashlib.sha256(data).hexdigest() != listed.sha256:
        raise PairmillError(
            f"the list {listed.file} is not what it was when the recipe was read; put that back, or start a new build"
        )
    ending = Path(listed.file).suffix.lower()
    if ending == ".parquet":
        values = _of_parquet(data, listed.file)
    elif ending == ".npy":
        values = _of_datacomp_subset(data, listed.file)
    elif ending == ".json":
        values = _of_json(data, listed.file)
    else:
        values = _of_text(data, listed.file)
    values = values.str.strip_chars()
    return values.filter(values != "").alias("values")


def _of_text(data: bytes, file: str) -> pl.Series:
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        return pl.Series([], dtype=pl.String)
    if _NO_TEXT in data:  # the slower way, which needs some five times the memory
        return pl.Series([_decoded(data, file)], dtype=pl.String).str.split("\n").explode()
    try:
        frame = pl.read_csv(
            data, has_header=False, separator=_NO_TEXT.decode(), quote_char=None, schema={"values": pl.String}
        )
    except pl.exceptions.PolarsError as error:
        _decoded(data, file)
        raise ValueError(f"the list {file}: {str(error).splitlines()[0]}") from error
    return frame.to_series().drop_nulls()


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"the list {file}, line {line}: this is not UTF-8 text") from error


def _of_parquet(data: bytes, file: str) -> pl.Series:
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"the list {file} is no parquet file: {str(error).splitlines()[0]}") from error
    if frame.width != 1:
        raise ValueError(f"the list {file} has the columns {', '.join(frame.columns)}; a list is one column")
    return frame.to_series().drop_nulls().cast(pl.String)


def _of_json(data: bytes, file: str) -> pl.Series:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the list {file} is no JSON: {error}") from error
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"the list {file} is JSON, but no array of strings")
    return pl.Series([value.encode("utf-8", "replace").decode() for value in values], dtype=pl.String)


def _of_datacomp_subset(data: bytes, file: str) -> pl.Series:
    """The uids of a DataComp subset as 32 hex digits each."""
    try:
        subset = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"the list {file} is no numpy array: {str(error).splitlines()[0]}") from error
    if subset.dtype != _DATACOMP_UID or subset.ndim != 1:
        raise ValueError(
            f"the list {file} has dtype {subset.dtype} and {subset.ndim} dimensions; a DataComp subset has u8,u8 and 1"
        )
    return hex_texts(np.stack([subset["f0"], subset["f1"]], axis=1))
