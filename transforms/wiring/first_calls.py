"""How a graph begins: workers answer a greeting, and the numbers of the pool's segments are spread over them."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam

from pairmill.transforms.greeting import Greeting, answer
from pairmill.transforms.wiring.barrier import Barrier


class MeetWorkers(beam.PTransform):
    """Some calls for every worker, each answered once it fits the greeting, and then the numbers of the segments.

    A stage of its own before all others: what a worker of another version cannot unpickle comes later.
    """

    def __init__(self, greeting: Greeting, segments: int, calls: int) -> None:
        super().__init__()
        self._greeting, self._segments, self._calls = greeting, segments, calls

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Spread the calls over the workers."""
        return (
            pipeline
            | "Calls" >> beam.Create(range(1))
            | "Call workers" >> Barrier(_Calls(self._calls))
            | "Meet" >> beam.Map(_meet, self._greeting)
            | "Met" >> Barrier(_Given(self._segments))
        )


class SegmentNumbers(beam.PTransform):
    """The numbers of the segments of a pool; the graph holds how many there are, not each of them."""

    def __init__(self, segments: int) -> None:
        super().__init__()
        self._segments = segments

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Spread over the workers."""
        return pipeline | "One" >> beam.Create(range(1)) | "Numbers" >> Barrier(_Given(self._segments))


class _Calls:
    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, _: list[int]) -> Iterable[int]:
        return range(self.calls)


class _Given:
    def __init__(self, segments: int) -> None:
        self.segments = segments

    def __call__(self, _: list[int]) -> Iterable[int]:
        return range(self.segments)


def _meet(call: int, greeting: Greeting) -> int:
    answer(greeting)
    return call
