"""The whole of pairmill on Beam: step functions over lanes and partitions, with barriers between them.

What flows is the numbers of lanes and partitions and small plans; rows and images lie in files. A barrier gathers the
(small) results of one stage and lets the next one begin when all of them are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import apache_beam as beam

from pairmill.transforms.bucket_step import count_buckets, move_images, send_ordered
from pairmill.transforms.caption_merge import send_captions
from pairmill.transforms.caption_step import measure_captions
from pairmill.transforms.concept_draws import count_pool_concepts, sum_concepts
from pairmill.transforms.concept_step import count_concepts
from pairmill.transforms.contamination_step import find_contaminated
from pairmill.transforms.duplicate_step import find_equal
from pairmill.transforms.evaluation_step import index_evaluation, measure_evaluation
from pairmill.transforms.fetch_step import fetch_crowded, fetch_lane, send_hosts, send_shared
from pairmill.transforms.host_step import counts_hosts, find_hosts
from pairmill.transforms.images_in_builds import find_images_in_builds
from pairmill.transforms.job import Job
from pairmill.transforms.judge_step import judge_lane
from pairmill.transforms.kept_step import write_kept
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
from pairmill.transforms.score_step import score_images, score_texts
from pairmill.transforms.select_step import rank_pool
from pairmill.transforms.share_step import find_shared, send_identities
from pairmill.transforms.verdict_step import close_lane
from pairmill.transforms.wiring.barrier import Barrier
from pairmill.transforms.wiring.calls import (
    call_alone,
    call_cut,
    call_find_near,
    call_step,
    call_step_numbered,
    call_step_or_pass,
    read_segment,
    write_run,
)
from pairmill.transforms.wiring.numbers import (
    Crowds,
    KeptFiles,
    LaidOut,
    Lanes,
    LanesOncePlanned,
    OneTask,
    Partitions,
    Pieces,
    PlannedRuns,
    ShardRuns,
)
from pairmill.transforms.wiring.pool_stages import with_counts
from pairmill.transforms.words_step import judge_words, write_words


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
        lanes, partitions = Lanes(job), Partitions(job)
        captions = (
            segments
            | "Read pool" >> beam.Map(read_segment, job)
            | "Lay lanes" >> Barrier(LaidOut(job))
            | "Measure captions" >> beam.Map(call_step, measure_captions, job)
            | "Captions measured" >> Barrier(lanes)
        )
        captions = with_counts(captions, job)
        for number in job.pool_selections:
            captions |= f"Rank pool {number}" >> beam.Map(call_step_numbered, rank_pool, job, number)
            captions |= f"Pool ranked {number}" >> Barrier(OneTask())
            captions |= f"Cut pool {number}" >> beam.Map(call_cut, job, number)
            captions |= f"Pool cut {number}" >> Barrier(lanes)
        if job.balances_pool:
            captions |= "Count pool concepts" >> beam.Map(call_step, count_pool_concepts, job)
            captions = self._of_all(captions, "pool concepts", sum_concepts)
        if job.against:
            captions = self._of_all(captions, "earlier builds", index_builds)
            captions |= "Find places in builds" >> beam.Map(call_step, find_places_in_builds, job)
            captions |= "Places found in builds" >> Barrier(lanes)
        if job.text_scorers:
            captions |= "Score texts" >> self._hinted(beam.Map(call_step, score_texts, job))
            captions |= "Texts scored" >> Barrier(lanes)
        if job.decontamination is not None:
            captions |= "Evaluation sets" >> Barrier(Pieces(job))
            captions |= "Measure evaluation" >> beam.Map(call_step_or_pass, measure_evaluation, job)
            captions = self._of_all(captions, "evaluation sets", index_evaluation)
        return (
            captions
            | "Send identities" >> beam.Map(call_step, send_identities, job)
            | "Identities sent" >> Barrier(partitions)
            | "Find shared" >> beam.Map(call_step, find_shared, job)
            | "Shared found" >> Barrier(lanes)
        )

    def _scored(self, images: beam.PCollection) -> beam.PCollection:
        """What models say of the images."""
        job, lanes = self._job, Lanes(self._job)
        images = images | "Send shared" >> beam.Map(call_step, send_shared, job) | "Shared sent" >> Barrier(lanes)
        if job.image_scorers:
            images |= "Score images" >> self._hinted(beam.Map(call_step, score_images, job))
            images |= "Images scored" >> Barrier(lanes)
        return images

    def _compared(self, images: beam.PCollection) -> beam.PCollection:
        """Verdicts on each row alone, then what is alike, in this pool and in others."""
        job = self._job
        lanes, partitions = Lanes(job), Partitions(job)
        judged = images | "Judge" >> beam.Map(call_step, judge_lane, job) | "Judged" >> Barrier(partitions)
        if job.decontamination is not None:
            judged |= "Find contaminated" >> beam.Map(call_step, find_contaminated, job)
            judged |= "Contaminated found" >> Barrier(partitions)
        if job.against:
            judged |= "Find images in builds" >> beam.Map(call_step, find_images_in_builds, job)
            judged |= "Images found in builds" >> Barrier(partitions)
        compared = (
            judged
            | "Find equal" >> beam.Map(call_step, find_equal, job)
            | "Equal found" >> Barrier(OneTask())
            | "Find near" >> beam.Map(call_find_near, job)
            | "Near found" >> Barrier(lanes)
        )
        compared = self._compared_more(compared)
        if job.duplicates.merge_captions:
            compared |= "Send captions" >> beam.Map(call_step, send_captions, job)
            compared |= "Captions sent" >> Barrier(lanes)
        return compared

    def _written(self, decided: beam.PCollection) -> beam.PCollection:
        """The ledger, the index of what is kept, and the shards."""
        job = self._job
        closed = self._mixed(decided) | "Close ledger" >> beam.Map(call_step, close_lane, job)
        _ = closed | "Ledger closed" >> Barrier(KeptFiles(job)) | "Write kept" >> beam.Map(call_step, write_kept, job)
        if job.shards.is_global:
            planned = closed | "Plan shards" >> Barrier(LanesOncePlanned(job))
            planned |= "Send ordered" >> beam.Map(call_step, send_ordered, job)
            planned = self._of_all(planned, "buckets", count_buckets)
            planned |= "Move images" >> beam.Map(call_step, move_images, job)
            runs = planned | "Images moved" >> Barrier(PlannedRuns(job))
        else:
            runs = closed | "Plan shards" >> Barrier(ShardRuns(job))
        return runs | "Write shards" >> beam.Map(write_run, job)

    def _hinted(self, step: beam.PTransform) -> beam.PTransform:
        return step.with_resource_hints(**self._hints) if self._hints else step

    def _fetched(self, lanes: beam.PCollection) -> beam.PCollection:
        """The images that are wanted; where workers are many, the hosts are shared out before."""
        job = self._job
        if counts_hosts(job):
            lanes |= "Send hosts" >> beam.Map(call_step, send_hosts, job)
            lanes |= "Hosts sent" >> Barrier(Partitions(job))
            lanes |= "Find hosts" >> beam.Map(call_step, find_hosts, job)
            lanes |= "Hosts found" >> Barrier(Lanes(job))
        lanes |= "Fetch" >> beam.Map(call_step, fetch_lane, job)
        if counts_hosts(job):
            lanes |= "All but crowded" >> Barrier(Crowds(job))
            lanes |= "Fetch crowded" >> beam.Map(call_step, fetch_crowded, job)
        return lanes | "Fetched" >> Barrier(Lanes(job))

    def _last_decisions(self, compared: beam.PCollection) -> beam.PCollection:
        """Selections among the living; before those that need texts which models write, the texts."""
        job, lanes = self._job, Lanes(self._job)
        late = job.late_selections
        worded = not job.words
        for number in [*late, None]:
            if not worded and (number is None or number >= job.first_worded_selection):
                compared, worded = self._write_words(compared), True
            if number is not None:
                compared |= f"Rank {number}" >> beam.Map(call_step_numbered, rank_living, job, number)
                compared |= f"Ranked {number}" >> Barrier(OneTask())
                compared |= f"Cut {number}" >> beam.Map(call_cut, job, number)
                compared |= f"Selected {number}" >> Barrier(lanes)
        return compared

    def _write_words(self, compared: beam.PCollection) -> beam.PCollection:
        job, lanes = self._job, Lanes(self._job)
        for number in range(len(job.words)):
            compared |= f"Write words {number}" >> self._hinted(beam.Map(call_step_numbered, write_words, job, number))
            compared |= f"Words written {number}" >> Barrier(lanes)
        compared |= "Judge words" >> beam.Map(call_step, judge_words, job)
        return compared | "Words judged" >> Barrier(lanes)

    def _compared_more(self, lanes: beam.PCollection) -> beam.PCollection:
        """Duplicates by captions and by embeddings; each step when the one before it is done, then the lanes again."""
        over: dict[str, Callable[[list[Any]], Iterable[Any]]]
        over = {"lane": Lanes(self._job), "partition": Partitions(self._job), "once": OneTask()}
        steps = later_steps(self._job)
        for step in steps:
            lanes |= f"Begin {step.name}" >> Barrier(over[step.each])
            call = call_alone if step.each == "once" else call_step
            lanes |= step.name >> beam.Map(call, step.work, self._job)
        return lanes | "All compared" >> Barrier(Lanes(self._job)) if steps else lanes

    def _mixed(self, decided: beam.PCollection) -> beam.PCollection:
        """How often each row is written: a pass over the lanes for each thing that must be known of all rows."""
        mixture = self._job.mixture
        if mixture is None:
            return decided
        if any(weighing.file is not None for weighing in mixture.weigh):
            decided = self._of_all(decided, "weights", sort_key_weights)
        if mixture.concepts is not None and not self._job.balances_pool:
            decided |= "Count concepts" >> beam.Map(call_step, count_concepts, self._job)
            decided = self._of_all(decided, "concepts", sum_concepts)
        decided |= "Count classes" >> beam.Map(call_step, count_classes, self._job)
        decided = self._of_all(decided, "classes", plan_mixture)
        decided |= "Rank draws" >> beam.Map(call_step, rank_draws, self._job)
        return self._of_all(decided, "draws", cut_draws)

    def _of_all(self, lanes: beam.PCollection, what: str, step: Callable[[Job], None]) -> beam.PCollection:
        """One task when every lane is done, then the lanes again."""
        return (
            lanes
            | f"All {what}" >> Barrier(OneTask())
            | f"Task of {what}" >> beam.Map(call_alone, step, self._job)
            | f"Known {what}" >> Barrier(Lanes(self._job))
        )
