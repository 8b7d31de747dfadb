"""The mixture of a build: lanes count, one task works out what each class of rows gets, lanes draw.

It is the last decision: the rows that nothing else rejects get a number of copies, and those that get none are rejected
at the stage ``mixture``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import polars as pl

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.mirror import listed, settle
from pairmill.sharding.publish import publish_bytes
from pairmill.transforms.concept_draws import rejected_by_concepts
from pairmill.transforms.job import Job
from pairmill.transforms.judgement import MIXTURE, STAGES
from pairmill.transforms.late_selection import decided, living, read_known
from pairmill.transforms.mixture.allocation import Classes, Shares, allocate, least_exponent, whole_weights
from pairmill.transforms.mixture.concept_rule import NO_CONCEPT
from pairmill.transforms.mixture.concept_rule import NOT_DRAWN as CONCEPT_NOT_DRAWN
from pairmill.transforms.mixture.draws import draw_cuts, draw_places
from pairmill.transforms.mixture.key_weights import open_weights, weights_of, write_runs
from pairmill.transforms.mixture.settings import Mixture, Weighing
from pairmill.transforms.mixture.weighing import Weights, factor_of, rounded
from pairmill.transforms.selection.cut import before_cut
from pairmill.transforms.selection.order import NO_SCORE
from pairmill.transforms.selection.runs import RunWriter, read_runs

WEIGHT_ZERO, NOT_DRAWN = "mixture_weight_zero", "mixture_not_drawn"
#: Every reason of the stage ``mixture``.
MIXTURE_REASONS = (NO_CONCEPT, CONCEPT_NOT_DRAWN, WEIGHT_ZERO, NOT_DRAWN)

#: Classes of rows: their group, the bits of their weight, how many there are.
_COUNTED: dict[str, pl.DataType] = {"group": pl.String(), "weight": pl.UInt64(), "rows": pl.UInt64()}
#: What is planned for each group: the rows that stood for it, what it would get without bounds, what it gets, and how
#: often its most frequent row is written.
GROUP_COLUMNS: dict[str, pl.DataType] = {
    "group": pl.String(), "rows_in": pl.UInt64(), "wanted": pl.Float64(), "samples": pl.UInt64(), "drawn": pl.UInt64(),
    "copies": pl.UInt32(),
}  # fmt: skip
#: The law of each group, as text: the numbers may be of any length.
_LAW = ("left", "volume", "bound")
#: Classes of single batches that a lane holds before it adds them up.
_HELD = 1_000_000


def sort_key_weights(job: Job) -> None:
    """Lay down the weights of single pairs that the recipe names files of, so that lanes can look them up."""
    for number, weighing in enumerate(_mixture(job).weigh):
        if weighing.file is not None:
            write_runs(weighing.file, _weights_folder(job, number))


def count_classes(job: Job, lane: int) -> None:
    """Count the living rows of a lane by group and weight."""
    count_rows(job, lane, _living_batches(job, lane))


def count_rows(job: Job, lane: int, batches: Iterable[pl.DataFrame]) -> None:
    """Count the rows of each batch of a lane by group and weight."""
    counts = [pl.DataFrame(schema=_COUNTED)]
    for place, living_rows in enumerate(batches):
        rows = _weighed(job, lane, place, living_rows)
        counts.append(rows.group_by("group", "weight").agg(rows=pl.len().cast(pl.UInt64)))
        if sum(part.height for part in counts[1:]) > _HELD:
            counts = [_summed(counts)]
    _save(_folder(job) / "classes" / f"{lane:06d}.parquet", _summed(counts))


def plan_mixture(job: Job) -> None:
    """Work out what every group and every class of rows gets, from the counts of all lanes."""
    files = listed(_folder(job) / "classes", "*.parquet")
    counted = _summed([pl.read_parquet(file) for file in files]).sort("group", "weight", nulls_last=False)
    groups = counted.group_by("group", maintain_order=True).agg(rows_in=pl.col("rows").sum())
    heavy = counted.with_columns(place=pl.col("group").rle_id().cast(pl.Int64)).filter(pl.col("weight") > 0)
    weights = heavy.get_column("weight").to_numpy().view(np.float64)
    exponent = least_exponent(weights)
    classes = Classes(
        group=heavy.get_column("place").to_numpy(),
        weight=whole_weights(weights, exponent),
        rows=heavy.get_column("rows").cast(pl.Int64).to_numpy(),
        exponent=exponent,
    )
    shares = allocate(_mixture(job), groups.get_column("group").to_list(), classes)
    told = {"wanted": [float(wanted) for wanted in shares.wanted]}
    told |= {name: getattr(shares, name) for name in ("samples", "drawn", "copies")}
    law = {name: [str(value) for value in getattr(shares, name).tolist()] for name in _LAW}
    planned = groups.with_columns(pl.Series(name, values, dtype=GROUP_COLUMNS[name]) for name, values in told.items())
    _save(_folder(job) / "groups.parquet", planned.with_columns(pl.Series(*item) for item in law.items()))
    plain = {"exponent": exponent, "whole": shares.left.dtype != object}
    publish_bytes(_folder(job) / "law.json", json.dumps(plain).encode())


def rank_draws(job: Job, lane: int) -> None:
    """Write the places of the rows of a lane that may be written once more than others of their class."""
    rank_rows(job, lane, _living_batches(job, lane))


def rank_rows(job: Job, lane: int, batches: Iterable[pl.DataFrame]) -> None:
    """The same of the rows of each batch of a lane."""
    with RunWriter(_runs_folder(job), lane) as runs:
        if not planned_groups(job).get_column("drawn").sum():
            return
        for place, living_rows in enumerate(batches):
            rows = _planned(job, _weighed(job, lane, place, living_rows))
            runs.add(_placed(job, rows).filter(pl.col("key") != NO_SCORE))


def cut_draws(job: Job) -> None:
    """Find the last row that is drawn of each group, when every lane has written its places."""
    groups = planned_groups(job)
    wanted = dict(zip(_group_ids(job, groups), groups.get_column("drawn").to_list(), strict=True))
    _save(_folder(job) / "cuts.parquet", draw_cuts(partial(read_runs, _runs_folder(job)), wanted))


def with_samples(job: Job, lane: int, place: int, alive: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """``verdicts`` with ``samples``, how often each row is written; the mixture rejects what it gives no copy.

    ``alive`` are the columns of the rows that reached the duplicate search.
    """
    if job.mixture is None:
        return verdicts.with_columns(samples=pl.col("stage").is_null().cast(pl.UInt32))
    told = drawn_samples(job, lane, place, living(alive, verdicts))
    joined = verdicts.join(told, on="row_id", how="left", maintain_order="left")
    none = pl.col("samples") == 0
    return joined.select(
        "row_id",
        stage=pl.when(none).then(pl.lit(MIXTURE, dtype=STAGES)).otherwise("stage"),
        reason=pl.when(none).then("why").otherwise("reason"),
        survivor="survivor",
        samples=pl.col("samples").fill_null(0),
    )


def drawn_samples(job: Job, lane: int, place: int, rows: pl.DataFrame) -> pl.DataFrame:
    """How often each living row of a batch is written: ``row_id``, ``samples``, and ``why`` not if that is zero."""
    rows = _planned(job, _weighed(job, lane, place, rows))
    drawn = before_cut(_placed(job, rows), _read(_folder(job) / "cuts.parquet")).fill_null(False)
    return rows.select(
        "row_id",
        samples=(pl.col("base") + drawn.cast(pl.Int64)).cast(pl.UInt32),
        why=pl.coalesce("reason", pl.lit(NOT_DRAWN)),
    )


def planned_groups(job: Job) -> pl.DataFrame:
    """What is planned for each group, columns as in GROUP_COLUMNS."""
    return _read(_folder(job) / "groups.parquet")


def laps_of(job: Job) -> int:
    """How often the most frequent row is written: the laps of the order of samples."""
    if job.mixture is None:
        return 1
    return max(1, int(planned_groups(job).get_column("copies").max() or 0))  # type: ignore[arg-type]


def group_of(mixture: Mixture, rows: pl.DataFrame) -> pl.Series:
    """The group of each row; null where there are no groups, and where a row has no value."""
    if mixture.by is None:
        return pl.Series("group", [None] * rows.height, dtype=pl.String)
    return rows.get_column(mixture.by).cast(pl.String).alias("group")


def _living_batches(job: Job, lane: int) -> Iterator[pl.DataFrame]:
    """The rows of each batch of a lane that nothing rejects before the mixture."""
    for place, batch in enumerate(job.lane_plan().lane(lane)):
        yield living(read_known(job, lane, place), decided(job, lane, place, batch))


def _weighed(job: Job, lane: int, place: int, rows: pl.DataFrame) -> pl.DataFrame:
    """``row_id``, ``uid``, ``group``, the bits of the ``weight``, and the ``reason`` where that is zero."""
    mixture = _mixture(job)
    uids = hex_halves(rows.get_column("uid"))
    weight = np.ones(rows.height)
    for number, weighing in enumerate(mixture.weigh):
        weight = weight * _factor(job, number, weighing, rows, uids)
    group = group_of(mixture, rows)
    wanted = {name: mixture.wants(name) for name in group.unique().to_list()}
    zero = (weight <= 0) | ~np.array([wanted[name] for name in group.to_list()], dtype=bool)
    why = np.where(zero, WEIGHT_ZERO, "")
    if mixture.concepts is not None and not job.balances_pool:
        rejected = rejected_by_concepts(job, lane, place, rows)
        why = np.where(rejected != "", rejected, why)
    weight = rounded(np.where(why != "", 0.0, weight))
    return rows.select("row_id", "uid").with_columns(
        group, pl.Series("weight", weight.view(np.uint64)), pl.Series("reason", why, dtype=pl.String).replace("", None)
    )


def _factor(
    job: Job, number: int, weighing: Weighing, rows: pl.DataFrame, uids: tuple[pl.Series, pl.Series]
) -> Weights:
    if weighing.column is not None:
        return factor_of(rows.get_column(weighing.column), weighing)
    high, low = (half.to_numpy() for half in uids)
    return weights_of(_runs(_weights_folder(job, number)), high, low, weighing.missing)


def _planned(job: Job, rows: pl.DataFrame) -> pl.DataFrame:
    """Weighed rows with ``base`` and ``fraction``: the copies that they are due, and the part of a copy more."""
    shares, exponent, places = _law(_folder(job), _mixture(job).max_copies)
    joined = rows.join(places, on="group", how="left", nulls_equal=True, maintain_order="left")
    weights = whole_weights(rows.get_column("weight").to_numpy().view(np.float64), exponent)
    base, fraction = shares.due(joined.get_column("place").to_numpy(), weights.astype(shares.left.dtype))
    return rows.with_columns(base=pl.Series(base), fraction=pl.Series(fraction))


@lru_cache(maxsize=1)
def _law(folder: Path, most: int) -> tuple[Shares, int, pl.DataFrame]:
    """What every group's rows are due, the unit of weights, and the place of each group."""
    groups, told = _read(folder / "groups.parquet"), json.loads((folder / "law.json").read_text(encoding="utf-8"))
    kind = np.int64 if told["whole"] else object
    left, volume, bound = (
        np.array([int(value) for value in groups.get_column(name).to_list()], dtype=kind) for name in _LAW
    )
    places = groups.select("group", place=pl.int_range(pl.len(), dtype=pl.Int64))
    return Shares([], [], [], [], left, volume, bound, most), told["exponent"], places


def _placed(job: Job, rows: pl.DataFrame) -> pl.DataFrame:
    fraction = rows.get_column("fraction").to_numpy()
    places = draw_places(fraction, hex_halves(rows.get_column("uid")), job.seed)
    return places.with_columns(group=_group_ids(job, rows))


def _group_ids(job: Job, rows: pl.DataFrame) -> pl.Series:
    return rows.get_column("group").hash(job.seed)


def _summed(counts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(counts).group_by("group", "weight").agg(pl.col("rows").sum())


def _mixture(job: Job) -> Mixture:
    assert job.mixture is not None
    return job.mixture


def _folder(job: Job) -> Path:
    return job.parts / "mixture"


def _runs_folder(job: Job) -> Path:
    return _folder(job) / "places"


def _weights_folder(job: Job, number: int) -> Path:
    return _folder(job) / f"weights-{number:03d}"


def _save(path: Path, frame: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    frame.write_parquet(attempt)
    settle(attempt, path)


@lru_cache(maxsize=8)
def _read(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


@lru_cache(maxsize=8)
def _runs(folder: Path) -> list[tuple[np.ndarray, ...]]:
    return open_weights(folder)
