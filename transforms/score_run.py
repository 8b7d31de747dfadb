"""A scorer of this build, the store of what it measured, and its columns under the recipe's names.

A store belongs to what decides the numbers, not to a name: its columns have neutral names there, so that a recipe which
calls the same scorer otherwise reads what another one measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pairmill.sharding.commit_log import Commit
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.score.scorer import Scorer

#: What a scorer is called in its store.
NEUTRAL = "score"
#: What a score of an image belongs to: the row, and the stored bytes that were looked at.
IMAGE_KEY: dict[str, pl.DataType] = {"row_id": pl.UInt64(), "spool": pl.String(), "spool_offset": pl.Int64()}
TEXT_KEY: dict[str, pl.DataType] = {"row_id": pl.UInt64()}


@dataclass(frozen=True, eq=False)
class ScorerRun:
    """A scorer that runs in this build, by the recipe's name for it; ``identity``: what decides its numbers."""

    name: str
    scorer: Scorer
    store: StepStore
    identity: Mapping[str, Any]

    @property
    def key(self) -> dict[str, pl.DataType]:
        """The columns that a score is joined by."""
        return IMAGE_KEY if self.scorer.reads == "image" else TEXT_KEY

    def columns(self) -> dict[str, pl.DataType]:
        """Every column that it writes, under the recipe's name."""
        return self.scorer.columns(self.name)

    def embedding_columns(self) -> list[str]:
        """The columns of vectors, which lie in files of their own in a dataset."""
        return [name for name, dtype in self.columns().items() if dtype == pl.Binary]

    def value_columns(self) -> list[str]:
        """The other columns: what rules read and metadata hold."""
        embeddings = set(self.embedding_columns())
        return [name for name in self.columns() if name not in embeddings]

    def field_metadata(self) -> dict[str, str]:
        """What a table says of each of these columns: scorer, and model, weights, preprocessing, scale and so on."""
        told = {"scorer": self.name, **self.identity}
        return {
            f"pairmill.{key}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for key, value in told.items()
        }

    def stored_names(self) -> dict[str, str]:
        """The name of each column in the store → its name in this recipe."""
        return dict(zip(self.scorer.columns(NEUTRAL), self.columns(), strict=True))

    def done(self, blocks: Sequence[int], moment: str) -> list[Commit]:
        """What is committed for the blocks at that moment of the run, part after part."""
        snapshot = self.store.snapshot(moment)
        return [commit for block in blocks for commit in snapshot.get(block, [])]

    def read(self, commits: Sequence[Commit], columns: Sequence[str]) -> pl.DataFrame:
        """The key and the named columns (by the recipe's names) of committed parts; each key once."""
        stored = {ours: theirs for theirs, ours in self.stored_names().items()}
        schema = self.key | {name: self.columns()[name] for name in columns}
        if not commits:
            return pl.DataFrame(schema=schema)
        frame = self.store.read(commits, [*self.key, *(stored[name] for name in columns)])
        frame = frame.rename({stored[name]: name for name in columns}).select(list(schema))
        return frame.unique(list(self.key), keep="first", maintain_order=True)


def join_scores(frame: pl.DataFrame, run: ScorerRun, scores: pl.DataFrame, alive: pl.Series) -> pl.DataFrame:
    """``frame`` with the columns of ``scores`` (as ``run.read`` gives them) beside its own, null where there are none.

    Raises PairmillError where a row that is ``alive`` (a mask over ``frame``) was not measured.
    """
    measured = scores.with_columns(measured=True)
    joined = frame.join(measured, on=list(run.key), how="left", maintain_order="left")
    lost = frame.filter(alive & joined.get_column("measured").is_null())
    if lost.height:
        raise PairmillError(
            f"{lost.height} rows were never measured by the scorer {run.name}: the work folder was changed while it "
            "was in use; run the same command again"
        )
    return joined.drop("measured")
