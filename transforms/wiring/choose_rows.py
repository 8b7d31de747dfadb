"""A selection by the pool's own columns on Beam."""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from pairmill.transforms.at_hand import at_hand
from pairmill.transforms.caption_step import measure_captions
from pairmill.transforms.pool_choice.choice import Choice
from pairmill.transforms.pool_choice.steps import Step, lay_spans, steps_of
from pairmill.transforms.wiring.barrier import Barrier
from pairmill.transforms.wiring.calls import call_step, on_worker, read_segment
from pairmill.transforms.wiring.numbers import LaidOut, Lanes
from pairmill.transforms.wiring.pool_stages import with_counts


class ChooseRows(beam.PTransform):
    """From the numbers of a pool's segments to a ledger by the pool's own columns; the output is of no interest."""

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self._choice = choice

    def expand(self, segments: beam.PCollection) -> beam.PCollection:
        """A pool that is not read in place is read as for a whole run; then one step after another."""
        choice, job = self._choice, self._choice.job
        done = segments
        if not choice.segments:
            done = (
                segments
                | "Read pool" >> beam.Map(read_segment, job)
                | "Lay lanes" >> Barrier(LaidOut(job))
                | "Measure captions" >> beam.Map(call_step, measure_captions, job)
                | "Captions measured" >> Barrier(Lanes(job))
            )
            done = with_counts(done, job)
        done |= "Lay spans" >> Barrier(_LaySpans(choice))
        steps = list(steps_of(choice))
        for number, step in enumerate(steps):
            done |= step.name >> beam.Map(_call_choice_step, step, choice)
            if number + 1 < len(steps):
                done |= f"Done {step.name}" >> Barrier(_Numbers(choice, steps[number + 1]))
        return done


class _LaySpans:
    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def __call__(self, done: list[Any]) -> list[tuple[int, ...]]:
        with at_hand(self.choice.job, "lay_spans"):
            lay_spans(self.choice)
        return next(steps_of(self.choice)).calls(self.choice)


class _Numbers:
    def __init__(self, choice: Choice, step: Step) -> None:
        self.choice, self.step = choice, step

    def __call__(self, done: list[int]) -> list[tuple[int, ...]]:
        with at_hand(self.choice.job, f"begin {self.step.name}"):
            return self.step.calls(self.choice)


@on_worker
def _call_choice_step(numbers: tuple[int, ...], step: Step, choice: Choice) -> int:
    with at_hand(choice.job, step.name):
        return step.call(choice, numbers)
