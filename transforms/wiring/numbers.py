"""What a barrier hands to the next stage: numbers of lanes, partitions and files, and small plans."""

from __future__ import annotations

from typing import Any

from pairmill.transforms.at_hand import at_hand
from pairmill.transforms.evaluation_step import pieces
from pairmill.transforms.host_step import crowd_groups
from pairmill.transforms.job import Job
from pairmill.transforms.kept_step import kept_files
from pairmill.transforms.read_step import lay_out
from pairmill.transforms.write_step import plan_shards, shard_runs

#: The number of no piece of work: it keeps a stage going that has none.
NOTHING = -1


class Lanes:
    """The numbers of the lanes."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, done: list[int]) -> list[int]:
        """As the lane plan has them."""
        with at_hand(self.job, "lanes"):
            return list(range(self.job.lane_plan().lanes))


class Partitions(Lanes):
    """The numbers of the partitions; none where there is no lane."""

    def __call__(self, done: list[int]) -> list[int]:
        """As the lane plan has them."""
        with at_hand(self.job, "lanes"):
            plan = self.job.lane_plan()
        return list(range(plan.partitions)) if plan.lanes else []


class Crowds(Lanes):
    """The groups of crowded hosts."""

    def __call__(self, done: list[int]) -> list[int]:
        """As the hosts were counted."""
        return crowd_groups(self.job) if done else []


class Pieces(Lanes):
    """The pieces of the evaluation sets; one that is none where all are tables, since somebody must go on."""

    def __call__(self, done: list[int]) -> list[int]:
        """As the sets are cut."""
        return [*range(len(pieces(self.job))), NOTHING] if done else []


class KeptFiles(Lanes):
    """The files of the index of kept pairs."""

    def __call__(self, done: list[Any]) -> list[int]:
        """As the batches of blocks are."""
        with at_hand(self.job, "kept files"):
            return kept_files(self.job)


class OneTask:
    """One task, once anything is done."""

    def __call__(self, done: list[int]) -> list[int]:
        """The number 0."""
        return [0] if done else []


class LaidOut:
    """The lanes, when the blocks that were read are laid into them."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, read: list[int]) -> list[int]:
        """As the new plan has them."""
        with at_hand(self.job, "lay_out"):
            return lay_out(self.job)


class ShardRuns:
    """The runs of shards, when they are planned."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, closed: list[int]) -> list[Any]:
        """As the plan has them."""
        with at_hand(self.job, "plan_shards"):
            return plan_shards(self.job)


class LanesOncePlanned(Lanes):
    """The lanes, when shards are planned."""

    def __call__(self, closed: list[int]) -> list[int]:
        """As the lane plan has them."""
        with at_hand(self.job, "plan_shards"):
            plan_shards(self.job)
        return super().__call__([])


class PlannedRuns(Lanes):
    """The runs of shards that were planned before."""

    def __call__(self, done: list[Any]) -> list[Any]:
        """As the plan has them."""
        with at_hand(self.job, "shard_runs"):
            return shard_runs(self.job)
