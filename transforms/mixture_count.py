"""What the lanes write of each group and each concept of a mixture: the realised numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.mirror import listed, settle
from pairmill.transforms.concept_draws import kept_concepts, save_kept
from pairmill.transforms.job import Job
from pairmill.transforms.late_selection import living
from pairmill.transforms.mixture_step import group_of, planned_groups

_KEPT: dict[str, pl.DataType] = {"group": pl.String(), "rows": pl.UInt64(), "samples": pl.UInt64()}


class MixtureCount:
    """Counts what a lane writes of each group and each concept; does nothing in a build without a mixture."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._groups = [pl.DataFrame(schema=_KEPT)]
        self._concepts: npt.NDArray[np.int64] | None = None

    def add(self, lane: int, place: int, alive: pl.DataFrame, before: pl.DataFrame, after: pl.DataFrame) -> None:
        """Count a batch of blocks: verdicts ``before`` the mixture, and ``after`` it with ``samples``."""
        if self._job.mixture is not None:
            samples = after.filter(before.get_column("stage").is_null()).get_column("samples")
            self.add_rows(lane, place, living(alive, before), samples)

    def add_rows(self, lane: int, place: int, rows: pl.DataFrame, samples: pl.Series) -> None:
        """Count the living rows of a batch of blocks by how often each is written."""
        mixture = self._job.mixture
        assert mixture is not None
        rows = rows.select("row_id", group_of(mixture, rows)).with_columns(samples.cast(pl.UInt64).alias("samples"))
        counted = rows.filter(pl.col("samples") > 0)
        self._groups.append(
            counted.group_by("group").agg(rows=pl.len().cast(pl.UInt64), samples=pl.col("samples").sum())
        )
        if mixture.concepts is not None:
            kept = kept_concepts(self._job, lane, place, rows)
            self._concepts = kept if self._concepts is None else self._concepts + kept

    def save(self, lane: int) -> None:
        """Leave the counts where the report finds them."""
        if self._job.mixture is None:
            return
        path = self._job.parts / "mixture" / "kept" / f"{lane:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        attempt = attempt_path(path)
        _summed(self._groups).write_parquet(attempt)
        settle(attempt, path)
        if self._concepts is not None:
            save_kept(self._job, lane, self._concepts)


def group_table(job: Job) -> pl.DataFrame:
    """Every group with ``rows_in`` (that stood for it), ``wanted`` samples, ``samples`` and ``rows`` that were written.

    The largest first; a group of null holds the rows without a value, or all rows where there are no groups.
    """
    kept = _summed([pl.read_parquet(path) for path in listed(job.parts / "mixture" / "kept", "*.parquet")])
    planned = planned_groups(job).select("group", "rows_in", "wanted")
    table = planned.join(kept, on="group", how="full", coalesce=True, nulls_equal=True)
    return table.with_columns(pl.col("rows_in", "rows", "samples").fill_null(0), pl.col("wanted").fill_null(0.0)).sort(
        "samples", "group", descending=[True, False]
    )


def _summed(counts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(counts).group_by("group").agg(pl.col("rows", "samples").sum())
