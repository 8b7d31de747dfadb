"""A choice among the rows of a pool: what is asked of it, and where its files lie."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pairmill.filters.rule import Rule
from pairmill.transforms.job import Job
from pairmill.transforms.pool.plan import Segment
from pairmill.transforms.pool_choice.reasons import Reasons
from pairmill.transforms.pool_choice.spans import SpanPlan, load_spans

#: A worker handles no more spans at once: each takes some 250 MB.
MOST_THREADS = 8
#: The pool's own checksums, under the name that its blocks have them.
POOL_SHA256 = "pool_sha256"
#: Equality that a pool's columns tell, in the order in which it is decided.
EqualKind = Literal["url", "sha256"]


@dataclass(frozen=True, eq=False)
class Choice:
    """What can be decided of a pool by its own columns, and what is left for the run that fetches.

    ``segments``: of a pool that is read in place; empty where its blocks were read into the work folder. ``columns``:
    the names that its rows have. ``rules``, ``early`` (selections over the whole pool) and ``late`` (among the living)
    are what is decided, the latter by their numbers; ``equal``: which duplicates. ``own_uids``: the pool brings uids,
    so that two rows of one uid may differ. ``mixes``: the mixture is made. ``left``: what is not decided, in words.
    """

    job: Job
    segments: Sequence[Segment]
    columns: frozenset[str]
    rules: tuple[Rule, ...]
    early: tuple[int, ...]
    late: tuple[int, ...]
    equal: tuple[EqualKind, ...]
    own_uids: bool
    mixes: bool
    left: tuple[str, ...]

    @cached_property
    def reasons(self) -> Reasons:
        """The table of codes."""
        chosen = tuple((number, self.job.selections[number]) for number in (*self.early, *self.late))
        return Reasons(self.rules, chosen, self.mixes)

    @property
    def threads(self) -> int:
        """Spans that a worker handles side by side: the cores of this machine, shared by its workers."""
        return max(1, min(MOST_THREADS, len(os.sched_getaffinity(0)) // self.job.lanes))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The selections that are made."""
        return (*self.early, *self.late)

    @property
    def folder(self) -> Path:
        """Where files lie that live as long as the run."""
        return self.job.parts / "choice"

    @property
    def plan_path(self) -> Path:
        """Where the plan of spans lies."""
        return self.folder / "spans"

    def plan(self) -> SpanPlan:
        """The plan of spans; exists once the rows of the pool are known."""
        return load_spans(self.plan_path)

    def file(self, kind: str, number: int) -> Path:
        """The file of one kind of a span or a partition."""
        return self.folder / kind / f"{number:06d}.arrow"


def columns_of_segments(segments: Collection[Segment]) -> frozenset[str]:
    """The names that the rows of a pool have."""
    return frozenset(column.name for segment in list(segments)[:1] for column in segment.columns)
