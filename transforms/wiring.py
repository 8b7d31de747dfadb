"""The whole of pairmill on Beam: step functions over lanes and partitions, with barriers between them.

What flows is the numbers of lanes and partitions and small plans; rows and images lie in files. A barrier gathers the
(small) results of one stage and lets the next one begin when all of them are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

import apache_beam as beam

from pairmill.transforms.at_hand import at_hand
from pairmill.transforms.bucket_step import count_buckets, move_images, send_ordered
from pairmill.transforms.caption_merge import send_captions
from pairmill.transforms.caption_step import measure_captions
from pairmill.transforms.concept_draws import count_pool_concepts, sum_concepts
from pairmill.transforms.concept_step import count_concepts
from pairmill.transforms.contamination_step import find_contaminated
from pairmill.transforms.count_step import find_counts, send_counted, take_counts
from pairmill.transforms.duplicate_step import find_equal, find_near
from pairmill.transforms.evaluation_step import index_evaluation, measure_evaluation, pieces
from pairmill.transforms.fetch_step import fetch_crowded, fetch_lane, send_hosts, send_shared
from pairmill.transforms.greeting import Greeting, answer
from pairmill.transforms.host_step import counts_hosts, crowd_groups, find_hosts
from pairmill.transforms.images_in_builds import find_images_in_builds
from pairmill.transforms.job import Job
from pairmill.transforms.judge_step import judge_lane
from pairmill.transforms.kept_step import kept_files, write_kept
from pairmill.transforms.late_selection import rank_living
from pairmill.transforms.later_duplicates import later_steps
from pairmill.transforms.mixture_step import (
    count_classes,
    cut_draws,
    plan_mixture,
    rank_draws,
    sort_key_weights,
)
from pairmill.transforms.places_in_builds import find_places_in_builds, index_builds
from pairmill.transforms.pool_choice.choice import Choice
from pairmill.transforms.pool_choice.steps import Step, lay_spans, steps_of
from pairmill.transforms.read_step import lay_out, read_pool_segment
from pairmill.transforms.score_step import score_images, score_texts
from pairmill.transforms.select_step import cut, rank_pool
from pairmill.transforms.share_step import find_shared, send_identities
from pairmill.transforms.verdict_step import close_lane
from pairmill.transforms.words_step import judge_words, write_words
from pairmill.transforms.write_step import plan_shards, shard_runs, write_shards

#: The number of no piece of work: it keeps a stage going that has none.
NOTHING = -1


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


class BuildDataset(beam.PTransform):
    """From the numbers of a pool's segments to finished shards; the output: samples of each run of shards.

    ``until`` ends it behind the ``fetch``, the ``score`` of images or the ``words`` that models write: what is there by
    then lies in the work folder, for a later run. ``hints`` are Beam's resource hints for the steps that load models.
    """

    def __init__(self, job: Job, until: str | None = None, hints: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._job, self._until, self._hints = job, until, hints or {}

    def expand(self, segments: beam.PCollection) -> beam.PCollection:
        """One stage after another, as docs/design.md draws it."""
        images = self._fetched(self._known_by_text(segments))
        if self._until == "fetch":
            return images
        images = self._scored(images)
        if self._until == "score":
            return images
        decided = self._last_decisions(self._compared(images))
        return decided if self._until == "words" else self._written(decided)

    def _known_by_text(self, segments: beam.PCollection) -> beam.PCollection:
        """What is decided before the fetch, down to who owns which image."""
        job = self._job
        lanes, partitions = _Lanes(job), _Partitions(job)
        captions = (
            segments
            | "Read pool" >> beam.Map(_read, job)
            | "Lay lanes" >> Barrier(_LayOut(job))
            | "Measure captions" >> beam.Map(_call, measure_captions, job)
            | "Captions measured" >> Barrier(lanes)
        )
        captions = _counted(captions, job)
        for number in job.pool_selections:
            captions |= f"Rank pool {number}" >> beam.Map(_call_numbered, rank_pool, job, number)
            captions |= f"Pool ranked {number}" >> Barrier(_One())
            captions |= f"Cut pool {number}" >> beam.Map(_cut, job, number)
            captions |= f"Pool cut {number}" >> Barrier(lanes)
        if job.balances_pool:
            captions |= "Count pool concepts" >> beam.Map(_call, count_pool_concepts, job)
            captions = self._of_all(captions, "pool concepts", sum_concepts)
        if job.against:
            captions = self._of_all(captions, "earlier builds", index_builds)
            captions |= "Find places in builds" >> beam.Map(_call, find_places_in_builds, job)
            captions |= "Places found in builds" >> Barrier(lanes)
        if job.text_scorers:
            captions |= "Score texts" >> self._hinted(beam.Map(_call, score_texts, job))
            captions |= "Texts scored" >> Barrier(lanes)
        if job.decontamination is not None:
            captions |= "Evaluation sets" >> Barrier(_Pieces(job))
            captions |= "Measure evaluation" >> beam.Map(_call_or_pass, measure_evaluation, job)
            captions = self._of_all(captions, "evaluation sets", index_evaluation)
        return (
            captions
            | "Send identities" >> beam.Map(_call, send_identities, job)
            | "Identities sent" >> Barrier(partitions)
            | "Find shared" >> beam.Map(_call, find_shared, job)
            | "Shared found" >> Barrier(lanes)
        )

    def _scored(self, images: beam.PCollection) -> beam.PCollection:
        """What models say of the images."""
        job, lanes = self._job, _Lanes(self._job)
        images = images | "Send shared" >> beam.Map(_call, send_shared, job) | "Shared sent" >> Barrier(lanes)
        if job.image_scorers:
            images |= "Score images" >> self._hinted(beam.Map(_call, score_images, job))
            images |= "Images scored" >> Barrier(lanes)
        return images

    def _compared(self, images: beam.PCollection) -> beam.PCollection:
        """Verdicts on each row alone, then what is alike, in this pool and in others."""
        job = self._job
        lanes, partitions = _Lanes(job), _Partitions(job)
        judged = images | "Judge" >> beam.Map(_call, judge_lane, job) | "Judged" >> Barrier(partitions)
        if job.decontamination is not None:
            judged |= "Find contaminated" >> beam.Map(_call, find_contaminated, job)
            judged |= "Contaminated found" >> Barrier(partitions)
        if job.against:
            judged |= "Find images in builds" >> beam.Map(_call, find_images_in_builds, job)
            judged |= "Images found in builds" >> Barrier(partitions)
        compared = (
            judged
            | "Find equal" >> beam.Map(_call, find_equal, job)
            | "Equal found" >> Barrier(_One())
            | "Find near" >> beam.Map(_find_near, job)
            | "Near found" >> Barrier(lanes)
        )
        compared = self._compared_more(compared)
        if job.duplicates.merge_captions:
            compared |= "Send captions" >> beam.Map(_call, send_captions, job)
            compared |= "Captions sent" >> Barrier(lanes)
        return compared

    def _written(self, decided: beam.PCollection) -> beam.PCollection:
        """The ledger, the index of what is kept, and the shards."""
        job = self._job
        closed = self._mixed(decided) | "Close ledger" >> beam.Map(_call, close_lane, job)
        _ = closed | "Ledger closed" >> Barrier(_KeptFiles(job)) | "Write kept" >> beam.Map(_call, write_kept, job)
        if job.shards.is_global:
            planned = closed | "Plan shards" >> Barrier(_PlanFirst(job))
            planned |= "Send ordered" >> beam.Map(_call, send_ordered, job)
            planned = self._of_all(planned, "buckets", count_buckets)
            planned |= "Move images" >> beam.Map(_call, move_images, job)
            runs = planned | "Images moved" >> Barrier(_Planned(job))
        else:
            runs = closed | "Plan shards" >> Barrier(_Plan(job))
        return runs | "Write shards" >> beam.Map(_write, job)

    def _hinted(self, step: beam.PTransform) -> beam.PTransform:
        return step.with_resource_hints(**self._hints) if self._hints else step

    def _fetched(self, lanes: beam.PCollection) -> beam.PCollection:
        """The images that are wanted; where workers are many, the hosts are shared out before."""
        job = self._job
        if counts_hosts(job):
            lanes |= "Send hosts" >> beam.Map(_call, send_hosts, job)
            lanes |= "Hosts sent" >> Barrier(_Partitions(job))
            lanes |= "Find hosts" >> beam.Map(_call, find_hosts, job)
            lanes |= "Hosts found" >> Barrier(_Lanes(job))
        lanes |= "Fetch" >> beam.Map(_call, fetch_lane, job)
        if counts_hosts(job):
            lanes |= "All but crowded" >> Barrier(_Crowds(job))
            lanes |= "Fetch crowded" >> beam.Map(_call, fetch_crowded, job)
        return lanes | "Fetched" >> Barrier(_Lanes(job))

    def _last_decisions(self, compared: beam.PCollection) -> beam.PCollection:
        """Selections among the living; before those that need texts which models write, the texts."""
        job, lanes = self._job, _Lanes(self._job)
        late = job.late_selections
        worded = not job.words
        for number in [*late, None]:
            if not worded and (number is None or number >= job.first_worded_selection):
                compared, worded = self._write_words(compared), True
            if number is not None:
                compared |= f"Rank {number}" >> beam.Map(_call_numbered, rank_living, job, number)
                compared |= f"Ranked {number}" >> Barrier(_One())
                compared |= f"Cut {number}" >> beam.Map(_cut, job, number)
                compared |= f"Selected {number}" >> Barrier(lanes)
        return compared

    def _write_words(self, compared: beam.PCollection) -> beam.PCollection:
        job, lanes = self._job, _Lanes(self._job)
        for number in range(len(job.words)):
            compared |= f"Write words {number}" >> self._hinted(beam.Map(_call_numbered, write_words, job, number))
            compared |= f"Words written {number}" >> Barrier(lanes)
        compared |= "Judge words" >> beam.Map(_call, judge_words, job)
        return compared | "Words judged" >> Barrier(lanes)

    def _compared_more(self, lanes: beam.PCollection) -> beam.PCollection:
        """Duplicates by captions and by embeddings; each step when the one before it is done, then the lanes again."""
        over: dict[str, Callable[[list[Any]], Iterable[Any]]]
        over = {"lane": _Lanes(self._job), "partition": _Partitions(self._job), "once": _One()}
        steps = later_steps(self._job)
        for step in steps:
            lanes |= f"Begin {step.name}" >> Barrier(over[step.each])
            call = _alone if step.each == "once" else _call
            lanes |= step.name >> beam.Map(call, step.work, self._job)
        return lanes | "All compared" >> Barrier(_Lanes(self._job)) if steps else lanes

    def _mixed(self, decided: beam.PCollection) -> beam.PCollection:
        """How often each row is written: a pass over the lanes for each thing that must be known of all rows."""
        mixture = self._job.mixture
        if mixture is None:
            return decided
        if any(weighing.file is not None for weighing in mixture.weigh):
            decided = self._of_all(decided, "weights", sort_key_weights)
        if mixture.concepts is not None and not self._job.balances_pool:
            decided |= "Count concepts" >> beam.Map(_call, count_concepts, self._job)
            decided = self._of_all(decided, "concepts", sum_concepts)
        decided |= "Count classes" >> beam.Map(_call, count_classes, self._job)
        decided = self._of_all(decided, "classes", plan_mixture)
        decided |= "Rank draws" >> beam.Map(_call, rank_draws, self._job)
        return self._of_all(decided, "draws", cut_draws)

    def _of_all(self, lanes: beam.PCollection, what: str, step: Callable[[Job], None]) -> beam.PCollection:
        """One task when every lane is done, then the lanes again."""
        return (
            lanes
            | f"All {what}" >> Barrier(_One())
            | f"Task of {what}" >> beam.Map(_alone, step, self._job)
            | f"Known {what}" >> Barrier(_Lanes(self._job))
        )


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
                | "Read pool" >> beam.Map(_read, job)
                | "Lay lanes" >> Barrier(_LayOut(job))
                | "Measure captions" >> beam.Map(_call, measure_captions, job)
                | "Captions measured" >> Barrier(_Lanes(job))
            )
            done = _counted(done, job)
        done |= "Lay spans" >> Barrier(_LaySpans(choice))
        steps = list(steps_of(choice))
        for number, step in enumerate(steps):
            done |= step.name >> beam.Map(_call_step, step, choice)
            if number + 1 < len(steps):
                done |= f"Done {step.name}" >> Barrier(_Numbers(choice, steps[number + 1]))
        return done


def _counted(lanes: beam.PCollection, job: Job) -> beam.PCollection:
    """With counts over the whole pool, where a rule asks for some."""
    if job.counts:
        lanes |= "Send counted" >> beam.Map(_call, send_counted, job)
        lanes |= "Counted sent" >> Barrier(_Partitions(job))
        lanes |= "Find counts" >> beam.Map(_call, find_counts, job)
        lanes |= "Counts found" >> Barrier(_Lanes(job))
        lanes |= "Take counts" >> beam.Map(_call, take_counts, job)
        lanes |= "Counts taken" >> Barrier(_Lanes(job))
    return lanes


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


class _LayOut:
    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, read: list[int]) -> list[int]:
        with at_hand(self.job, "lay_out"):
            return lay_out(self.job)


class _Lanes:
    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, done: list[int]) -> list[int]:
        with at_hand(self.job, "lanes"):
            return list(range(self.job.lane_plan().lanes))


class _Partitions(_Lanes):
    def __call__(self, done: list[int]) -> list[int]:
        with at_hand(self.job, "lanes"):
            plan = self.job.lane_plan()
        return list(range(plan.partitions)) if plan.lanes else []


class _Crowds(_Lanes):
    def __call__(self, done: list[int]) -> list[int]:
        return crowd_groups(self.job) if done else []


class _Pieces(_Lanes):
    """The pieces of the evaluation sets; one that is none where all are tables, since somebody must go on."""

    def __call__(self, done: list[int]) -> list[int]:
        return [*range(len(pieces(self.job))), NOTHING] if done else []


class _KeptFiles(_Lanes):
    """The files of the index of kept pairs."""

    def __call__(self, done: list[Any]) -> list[int]:
        with at_hand(self.job, "kept files"):
            return kept_files(self.job)


class _One:
    def __call__(self, done: list[int]) -> list[int]:
        return [0] if done else []


class _Plan:
    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, closed: list[int]) -> list[Any]:
        with at_hand(self.job, "plan_shards"):
            return plan_shards(self.job)


class _PlanFirst(_Lanes):
    """The lanes, when shards are planned."""

    def __call__(self, closed: list[int]) -> list[int]:
        with at_hand(self.job, "plan_shards"):
            plan_shards(self.job)
        return super().__call__([])


class _Planned(_Lanes):
    """The runs of shards that were planned before."""

    def __call__(self, done: list[Any]) -> list[Any]:
        with at_hand(self.job, "shard_runs"):
            return shard_runs(self.job)


def _on_worker(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call of a step that is made by a worker which has answered the submitter, where it asks for that."""

    @wraps(call)
    def answered(element: Any, *arguments: Any) -> Any:
        for argument in arguments:
            job = argument.job if isinstance(argument, Choice) else argument
            if isinstance(job, Job) and job.greeting is not None:
                answer(job.greeting)
        return call(element, *arguments)

    return answered


@_on_worker
def _read(number: int, job: Job) -> int:
    with at_hand(job, "read pool"):
        read_pool_segment(job, job.segments[number])
    return number


@_on_worker
def _call(number: int, step: Callable[[Job, int], None], job: Job) -> int:
    with at_hand(job, step.__qualname__):
        step(job, number)
    return number


@_on_worker
def _call_step(numbers: tuple[int, ...], step: Step, choice: Choice) -> int:
    with at_hand(choice.job, step.name):
        return step.call(choice, numbers)


@_on_worker
def _call_numbered(lane: int, step: Callable[[Job, int, int], None], job: Job, number: int) -> int:
    with at_hand(job, f"{step.__qualname__} {number}"):
        step(job, lane, number)
    return lane


@_on_worker
def _alone(number: int, step: Callable[[Job], None], job: Job) -> int:
    with at_hand(job, step.__qualname__):
        step(job)
    return number


@_on_worker
def _cut(number: int, job: Job, selection: int) -> int:
    with at_hand(job, f"cut {selection}"):
        cut(job, selection)
    return number


@_on_worker
def _call_or_pass(number: int, step: Callable[[Job, int], None], job: Job) -> int:
    if number != NOTHING:
        _call(number, step, job)
    return number


@_on_worker
def _find_near(number: int, job: Job) -> int:
    with at_hand(job, "find_near"):
        find_near(job)
    return number


@_on_worker
def _write(run: Any, job: Job) -> int:
    with at_hand(job, "write_shards"):
        return write_shards(job, run)
