"""Stages over the whole pool that builds and selections share."""

from __future__ import annotations

import apache_beam as beam

from pairmill.transforms.count_step import find_counts, send_counted, take_counts
from pairmill.transforms.job import Job
from pairmill.transforms.wiring.barrier import Barrier
from pairmill.transforms.wiring.calls import call_step
from pairmill.transforms.wiring.numbers import Lanes, Partitions


def with_counts(lanes: beam.PCollection, job: Job) -> beam.PCollection:
    """With counts over the whole pool, where a rule asks for some."""
    if job.counts:
        lanes |= "Send counted" >> beam.Map(call_step, send_counted, job)
        lanes |= "Counted sent" >> Barrier(Partitions(job))
        lanes |= "Find counts" >> beam.Map(call_step, find_counts, job)
        lanes |= "Counts found" >> Barrier(Lanes(job))
        lanes |= "Take counts" >> beam.Map(call_step, take_counts, job)
        lanes |= "Counts taken" >> Barrier(Lanes(job))
    return lanes
