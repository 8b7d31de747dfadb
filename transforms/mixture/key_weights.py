"""Weights of single pairs from a file, such as a trainer makes that prunes: looked up in sorted runs on disk.

The file is read in pieces; each is sorted by uid and laid down as a run, and a look-up searches every run. Memory holds
one piece, and the pages that are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.mirror import fetched, listed, settle
from pairmill.sharding.value_list import ListFile, list_file
from pairmill.transforms.selection.order import shuffled

#: Weights that are sorted at once (24 bytes each, and some four times as much while they are sorted).
ROWS_PER_RUN = 8_000_000
NAMES = ("uid", "key")
WEIGHT = "weight"
_PAIR = r"^([0-9a-fA-F]{1,32})(-[0-9]+)?$"
_DATACOMP = np.dtype("u8,u8")
_COLUMNS = ("hi", "lo", "sum", "count")
#: Runs are sorted by shuffled uids: those that count up from zero have high halves that are all alike.
_SHUFFLE = 0


def check_key_weights(listed: ListFile) -> None:
    """Raise ValueError with one line unless the file is one of weights: see ``write_runs``. Reads no weight."""
    suffix = Path(listed.file).suffix.lower()
    if suffix == ".npy":
        _subset(listed.file)
    else:
        _name_of(_schema(listed.file, suffix), listed.file)


def write_runs(listed: ListFile, folder: Path, rows_per_run: int = ROWS_PER_RUN) -> None:
    """Lay down the weights of a file as sorted runs in ``folder``.

    ``.parquet`` and ``.csv`` have a column ``uid`` or ``key`` (of samples: ``UID-1`` is a copy of ``UID``) and a column
    ``weight``; ``.npy`` is a DataComp subset, in which a uid weighs as often as it comes. Raises PairmillError where
    the file changed since the recipe was read, ValueError for what is no such file and for a key that is no uid.
    """
    if list_file(listed.file).sha256 != listed.sha256:
        raise PairmillError(
            f"the weights {listed.file} are not what they were when the recipe was read; put that back, or start a new "
            "build"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(_pieces(listed.file, rows_per_run)):
        if piece.height:
            _write(piece, folder / f"{number:04d}.arrow")


def open_weights(folder: Path) -> list[tuple[npt.NDArray[np.generic], ...]]:
    """The columns of every run, mapped from disk."""
    runs = []
    for path in listed(folder, "*.arrow"):
        batch = pa.ipc.open_file(pa.memory_map(str(fetched(path)))).get_batch(0)
        runs.append(tuple(batch.column(name).to_numpy(zero_copy_only=True) for name in _COLUMNS))
    return runs


def weights_of(
    runs: list[tuple[npt.NDArray[np.generic], ...]],
    high: npt.NDArray[np.uint64],
    low: npt.NDArray[np.uint64],
    missing: float,
) -> npt.NDArray[np.float64]:
    """The weight of each uid, given by its halves: the mean of those that the file has for it, or ``missing``."""
    high, low = shuffled(high, low, _SHUFFLE)
    sums, counts = np.zeros(len(high)), np.zeros(len(high))
    for hi, lo, weight, count in runs:
        first = np.searchsorted(hi, high, side="left")
        last = np.searchsorted(hi, high, side="right")
        at = np.minimum(first, len(hi) - 1)
        for row in np.flatnonzero(last - first > 1).tolist():  # as rare as accidents
            at[row] = first[row] + np.searchsorted(lo[first[row] : last[row]], low[row])
            at[row] = min(at[row], last[row] - 1)
        there = (hi[at] == high) & (lo[at] == low)
        sums += np.where(there, weight[at], 0.0)
        counts += np.where(there, count[at], 0.0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), missing)


def _pieces(file: str, rows: int) -> Iterator[pl.DataFrame]:
    """hi, lo, sum and count of the file's weights, in pieces."""
    suffix = Path(file).suffix.lower()
    if suffix == ".npy":
        yield from _counted(_subset(file), file, rows)
        return
    name = _name_of(_schema(file, suffix), file)
    for frame in _frames(file, suffix, name, rows):
        yield _checked(frame, name, file)


def _subset(file: str) -> npt.NDArray[np.void]:
    try:
        subset = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"the weights {file} are no numpy array: {str(error).splitlines()[0]}") from error
    if subset.dtype != _DATACOMP or subset.ndim != 1:
        raise ValueError(f"the weights {file} have dtype {subset.dtype}; a DataComp subset has u8,u8")
    return subset


def _counted(subset: npt.NDArray[np.void], file: str, rows: int) -> Iterator[pl.DataFrame]:
    """A uid that comes k times weighs k: the sum of ones, over one."""
    start = 0
    while start < len(subset):
        stop = min(start + rows, len(subset))
        while stop < len(subset) and subset[stop] == subset[stop - 1]:  # a uid is of one piece
            stop += 1
        frame = pl.DataFrame({"hi": np.array(subset["f0"][start:stop]), "lo": np.array(subset["f1"][start:stop])})
        if not frame.equals(frame.sort("hi", "lo")):
            raise ValueError(f"the weights {file} are not sorted, as a DataComp subset is; sort them: subset.sort()")
        counted = frame.group_by("hi", "lo", maintain_order=True).agg(sum=pl.len().cast(pl.Float64))
        yield counted.with_columns(count=pl.lit(1.0))
        start = stop


def _schema(file: str, suffix: str) -> list[str]:
    try:
        if suffix == ".parquet":
            return list(pq.read_schema(file).names)
        if suffix == ".csv":
            return list(pl.read_csv(file, n_rows=0).columns)
    except (OSError, pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
        raise ValueError(f"the weights {file} cannot be read: {str(error).splitlines()[0]}") from error
    raise ValueError(f"the weights {file}: give a .parquet, .csv or .npy file")


def _name_of(columns: list[str], file: str) -> str:
    name = next((name for name in NAMES if name in columns), None)
    if name is None or WEIGHT not in columns:
        raise ValueError(
            f"the weights {file} have the columns {', '.join(columns)}; there must be uid or key, and weight"
        )
    return name


def _frames(file: str, suffix: str, name: str, rows: int) -> Iterator[pl.DataFrame]:
    held: list[pa.RecordBatch] = []
    for batch in _batches(file, suffix, name):
        held.append(batch)
        if sum(part.num_rows for part in held) >= rows:
            yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches(held)))
            held = []
    if held:
        yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches(held)))


def _batches(file: str, suffix: str, name: str) -> Iterator[pa.RecordBatch]:
    try:
        if suffix == ".parquet":
            with pq.ParquetFile(file) as parquet:
                yield from parquet.iter_batches(columns=[name, WEIGHT])
        else:
            types = pa_csv.ConvertOptions(
                column_types={name: pa.string(), WEIGHT: pa.float64()}, include_columns=[name, WEIGHT]
            )
            yield from pa_csv.open_csv(file, convert_options=types)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"the weights {file} cannot be read: {str(error).splitlines()[0]}") from error


def _checked(frame: pl.DataFrame, name: str, file: str) -> pl.DataFrame:
    keys = frame.get_column(name).cast(pl.String)
    uids = keys.str.extract(_PAIR).str.to_lowercase().str.zfill(32)
    weights = frame.get_column(WEIGHT).cast(pl.Float64, strict=False)
    bad = uids.is_null() | ~weights.is_finite().fill_null(False)
    if bad.any():
        row = int(bad.arg_true()[0])
        told = f"{keys[row]!r} is no uid" if uids[row] is None else f"{keys[row]} has the weight {frame[WEIGHT][row]}"
        raise ValueError(f"the weights {file}: {told}; keys are of 1 to 32 hex digits, weights are numbers from 0")
    hi, lo = hex_halves(uids)
    told_of = pl.DataFrame({"hi": hi, "lo": lo, "weight": weights.clip(lower_bound=0)})
    return told_of.group_by("hi", "lo", maintain_order=True).agg(
        sum=pl.col("weight").sum(), count=pl.len().cast(pl.Float64)
    )


def _write(piece: pl.DataFrame, path: Path) -> None:
    hi, lo = shuffled(piece.get_column("hi").to_numpy(), piece.get_column("lo").to_numpy(), _SHUFFLE)
    table = (
        piece.with_columns(hi=pl.Series(hi), lo=pl.Series(lo)).select(_COLUMNS).sort("hi", "lo").rechunk().to_arrow()
    )
    attempt = attempt_path(path)
    with pa.OSFile(str(attempt), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=max(1, table.num_rows))
    settle(attempt, path)
