"""A barrier between the stages of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam


class Barrier(beam.PTransform):
    """Wait for every element, hand all of them to ``then``, and spread what it returns over the workers."""

    def __init__(self, then: Callable[[list[Any]], Iterable[Any]]) -> None:
        super().__init__()
        self._then = then

    def expand(self, gathered: beam.PCollection) -> beam.PCollection:
        """Gather as a side input: the elements are few and small, one a lane, a partition or a shard run."""
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        numbered = (
            gathered.pipeline
            | "Open" >> beam.Impulse()
            | "Then" >> beam.FlatMap(_hand_over, self._then, beam.pvalue.AsList(gathered))
        )
        if isinstance(gathered.pipeline.runner, FnApiRunner):
            # Spreads as Reshuffle does, with a third of its transforms; each takes its time.
            return numbered | "Spread" >> beam.GroupByKey() | "Each" >> beam.FlatMap(_elements)
        # A cluster groups by a hash, which gives one worker two lanes of four and another none: this goes in turn.
        return numbered | "Spread" >> beam.Reshuffle() | "Each" >> beam.Values()


def _hand_over(_: bytes, then: Callable[[list[Any]], Iterable[Any]], gathered: list[Any]) -> Iterable[tuple[int, Any]]:
    return enumerate(then(gathered))


def _elements(spread: tuple[int, Iterable[Any]]) -> Iterable[Any]:
    return spread[1]
