"""What a lane tells of its scoring, for the report: how many pairs, how long, and what could not be measured."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from pairmill.sharding.mirror import listed
from pairmill.sharding.publish import publish_bytes
from pairmill.transforms.score.scorer import column_name
from pairmill.transforms.score.timing import Timing
from pairmill.transforms.score_run import ScorerRun


@dataclass
class ScorerCount:
    """One scorer over the living rows of a lane.

    ``pairs``: of these rows; ``measured``: those of them that this run measured, not an earlier one; ``outcomes``: why
    rows lack a score → rows; ``tokens_cut``: rows whose text was longer than the model reads.
    """

    pairs: int = 0
    measured: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    tokens_cut: int = 0


@dataclass
class LaneScores:
    """The scoring of one lane, or of all of them.

    ``rows_in``: living rows; ``rows_out``: those that the rules on these scores let pass. ``timing``: of the passes
    that this run made, its ``wall_s`` added up over lanes; ``started``, ``ended``: by the clock of the machine.
    """

    rows_in: int = 0
    rows_out: int = 0
    timing: Timing = field(default_factory=Timing)
    started: float | None = None
    ended: float | None = None
    scorers: dict[str, ScorerCount] = field(default_factory=dict)

    def add_pass(self, timing: Timing, started: float, ended: float) -> None:
        """Note one pass of the models."""
        self.timing += timing
        self.started = started if self.started is None else min(self.started, started)
        self.ended = ended if self.ended is None else max(self.ended, ended)

    def whole_timing(self) -> Timing:
        """The timing with ``wall_s`` from the first pass to the last: lanes run side by side."""
        return replace(self.timing, wall_s=(self.ended or 0.0) - (self.started or 0.0))

    def add_batch(self, rows_in: int, rows_out: int) -> None:
        """Note the living rows of a batch of blocks, and how many of them their scores let pass."""
        self.rows_in += rows_in
        self.rows_out += rows_out

    def add_rows(self, run: ScorerRun, scored: pl.DataFrame, measured: int) -> None:
        """Note what ``run`` made of living rows; ``scored`` has its columns, ``measured`` of them are new."""
        count = self.scorers.setdefault(run.name, ScorerCount())
        count.pairs += scored.height
        count.measured += measured
        outcomes = _measure(run, "outcome")
        if outcomes:
            why = scored.select(pl.coalesce(outcomes)).to_series().drop_nulls().to_list()
            count.outcomes = dict(sorted((Counter(count.outcomes) + Counter(why)).items()))
        cut = _measure(run, "tokens_cut")
        if cut:
            count.tokens_cut += int(scored.select(pl.any_horizontal(pl.col(cut) > 0).sum()).item() or 0)

    def save(self, folder: Path, lane: int) -> None:
        """Write it where ``all_lanes`` looks for it."""
        folder.mkdir(parents=True, exist_ok=True)
        publish_bytes(folder / f"{lane:06d}.json", json.dumps(asdict(self)).encode())


def _measure(run: ScorerRun, measure: str) -> list[str]:
    """The columns of one measure, of each text."""
    first = column_name(run.name, measure)
    return [name for name in run.columns() if name == first or name.startswith(f"{first}_")]


def all_lanes(folder: Path) -> LaneScores:
    """What all lanes told, put together."""
    total = LaneScores()
    for path in listed(folder, "*.json"):
        lane: dict[str, Any] = json.loads(path.read_bytes())
        total.add_batch(lane["rows_in"], lane["rows_out"])
        if lane["started"] is not None:
            total.add_pass(Timing(**lane["timing"]), lane["started"], lane["ended"])
        for name, told in lane["scorers"].items():
            count = total.scorers.setdefault(name, ScorerCount())
            count.pairs += told["pairs"]
            count.measured += told["measured"]
            count.tokens_cut += told["tokens_cut"]
            count.outcomes = dict(sorted((Counter(count.outcomes) + Counter(told["outcomes"])).items()))
    return total
