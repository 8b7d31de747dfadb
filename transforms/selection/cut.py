"""Where a selection cuts, found from sorted runs, and which rows lie before the cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pairmill.transforms.selection.order import NO_SCORE, PLACE
from pairmill.transforms.selection.runs import Array, groups_of, kth_place, open_runs
from pairmill.transforms.selection.settings import Selection

#: ``rows`` stood for selection, ``scored`` of them had a value, ``wanted`` were asked for; the place of the last kept.
CUT_COLUMNS: dict[str, pl.DataType] = {
    "group": pl.UInt64(),
    "rows": pl.UInt64(),
    "scored": pl.UInt64(),
    "wanted": pl.UInt64(),
    **{f"last_{name}": pl.UInt64() for name in PLACE},
}
_MOST = (1 << 64) - 1
_NOWHERE = (None,) * len(PLACE)


def find_cuts(folder: Path, selection: Selection) -> pl.DataFrame:
    """The cut of each group, from the runs in ``folder``: columns as in CUT_COLUMNS, places null where none is kept."""
    records = []
    for group, parts in groups_of(open_runs(folder)).items():
        rows = sum(len(part[0]) for part in parts)
        scored = sum(_scored(part) for part in parts)
        wanted = selection.wanted(rows)
        records.append((group, rows, scored, wanted, *_last_place(parts, scored, rows, selection)))
    return pl.DataFrame(records, schema=CUT_COLUMNS, orient="row")


def _scored(part: tuple[Array, ...]) -> int:
    return int(part[0].searchsorted(part[0].dtype.type(NO_SCORE)))


def _last_place(
    parts: Sequence[tuple[Array, ...]], scored: int, rows: int, selection: Selection
) -> tuple[int | None, ...]:
    wanted = selection.wanted(rows)
    if selection.ties == "datacomp":
        # Its threshold is the value at index `wanted` of all sorted scores, NaN last; nothing is above a NaN. Where
        # the index is beyond the end (a fraction of 1) it fails; here everything is kept.
        if wanted >= rows:
            return (NO_SCORE - 1, _MOST, _MOST)
        return (kth_place(parts, wanted + 1)[0], _MOST, _MOST) if wanted < scored else _NOWHERE
    kept = min(wanted, scored)
    if not kept:
        return _NOWHERE
    key, *tie = kth_place(parts, kept)
    return (key, _MOST, _MOST) if selection.ties == "kept" else (key, *tie)


def before_cut(rows: pl.DataFrame, cuts: pl.DataFrame) -> pl.Series:
    """For each row with ``group`` and the columns of PLACE whether the cut keeps it; null where it has no score."""
    joined = rows.join(cuts, on="group", how="left", maintain_order="left")
    key, high, low = (pl.col(name) for name in PLACE)
    last_key, last_high, last_low = (pl.col(f"last_{name}") for name in PLACE)
    before = (high < last_high) | ((high == last_high) & (low <= last_low))
    kept = (key < last_key) | ((key == last_key) & before)
    return joined.select(kept=pl.when(key != NO_SCORE).then(kept.fill_null(False))).to_series()
