"""How a worker calls a step: it has answered the submitter, and the files of the step are at hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from pairmill.transforms.at_hand import at_hand
from pairmill.transforms.duplicate_step import find_near
from pairmill.transforms.greeting import answer
from pairmill.transforms.job import Job
from pairmill.transforms.pool_choice.choice import Choice
from pairmill.transforms.read_step import read_pool_segment
from pairmill.transforms.select_step import cut
from pairmill.transforms.wiring.numbers import NOTHING
from pairmill.transforms.write_step import write_shards


def on_worker(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call of a step that is made by a worker which has answered the submitter, where it asks for that."""

    @wraps(call)
    def answered(element: Any, *arguments: Any) -> Any:
        for argument in arguments:
            job = argument.job if isinstance(argument, Choice) else argument
            if isinstance(job, Job) and job.greeting is not None:
                answer(job.greeting)
        return call(element, *arguments)

    return answered


@on_worker
def read_segment(number: int, job: Job) -> int:
    """Read a segment of the pool; returns its number."""
    with at_hand(job, "read pool"):
        read_pool_segment(job, job.segments[number])
    return number


@on_worker
def call_step(number: int, step: Callable[[Job, int], None], job: Job) -> int:
    """Call a step for a lane, a partition or a file; returns its number."""
    with at_hand(job, step.__qualname__):
        step(job, number)
    return number


@on_worker
def call_step_numbered(lane: int, step: Callable[[Job, int, int], None], job: Job, number: int) -> int:
    """Call a step that is one of several of its kind, for a lane; returns the lane."""
    with at_hand(job, f"{step.__qualname__} {number}"):
        step(job, lane, number)
    return lane


@on_worker
def call_step_or_pass(number: int, step: Callable[[Job, int], None], job: Job) -> int:
    """Call a step for a piece, or pass on the number of none."""
    if number != NOTHING:
        call_step(number, step, job)
    return number


@on_worker
def call_alone(number: int, step: Callable[[Job], None], job: Job) -> int:
    """Call a step that is one task; returns the number that it was called with."""
    with at_hand(job, step.__qualname__):
        step(job)
    return number


@on_worker
def call_cut(number: int, job: Job, selection: int) -> int:
    """Find the cut of a selection; returns the number that it was called with."""
    with at_hand(job, f"cut {selection}"):
        cut(job, selection)
    return number


@on_worker
def call_find_near(number: int, job: Job) -> int:
    """Find near pictures; returns the number that it was called with."""
    with at_hand(job, "find_near"):
        find_near(job)
    return number


@on_worker
def write_run(run: Any, job: Job) -> int:
    """Write a run of shards; returns its samples."""
    with at_hand(job, "write_shards"):
        return write_shards(job, run)
