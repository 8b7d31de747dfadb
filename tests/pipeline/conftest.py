"""Builds of the small pool, made by the steps themselves in a plain loop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.pipeline.build import run_build
from pairmill.pipeline.prepare import prepare
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.recipe import load_recipe
from pairmill.pipeline.select_build import run_selection
from pairmill.sharding.publish import TEMPORARY_MARK
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
from pairmill.transforms.host_step import counts_hosts, crowd_groups, find_hosts
from pairmill.transforms.images_in_builds import find_images_in_builds
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
from pairmill.transforms.pool.plan import plan_segments
from pairmill.transforms.pool_choice.choice import Choice
from pairmill.transforms.pool_choice.steps import lay_spans, steps_of
from pairmill.transforms.read_step import lay_out, read_pool_segment
from pairmill.transforms.score_step import score_images, score_texts
from pairmill.transforms.select_step import cut, rank_pool
from pairmill.transforms.share_step import find_shared, send_identities
from pairmill.transforms.verdict_step import close_lane
from pairmill.transforms.words_step import judge_words, write_words
from pairmill.transforms.write_step import plan_shards, write_shards

Call = Callable[[Callable[[], Any]], Any]


def once(step: Callable[[], Any]) -> Any:
    return step()


def swapped(step: Callable[[Any, int, int], None], number: int, job: Any, lane: int) -> None:
    step(job, lane, number)


def before_fetch(job: Any, each: Callable[..., list[Any]], call: Call, lanes: list[int]) -> None:
    """The steps on texts, and on evaluation sets."""
    each(measure_captions, lanes)
    if job.counts:
        each(send_counted, lanes)
        each(find_counts, range(job.lane_plan().partitions) if lanes else ())
        each(take_counts, lanes)
    for number in job.pool_selections:
        each(partial(swapped, rank_pool, number), lanes)
        call(partial(cut, job, number))
    if job.balances_pool and lanes:
        each(count_pool_concepts, lanes)
        call(partial(sum_concepts, job))
    if job.against and lanes:
        call(lambda: index_builds(job))
        each(find_places_in_builds, lanes)
    if job.text_scorers:
        each(score_texts, lanes)
    if job.decontamination is not None and lanes:
        each(measure_evaluation, range(len(pieces(job))))
        call(lambda: index_evaluation(job))


def compare_more(job: Any, each: Callable[..., list[Any]], call: Call, lanes: list[int]) -> None:
    """Duplicates by captions and embeddings."""
    for step in later_steps(job):
        if step.each == "once":
            call(partial(step.work, job))
        else:
            each(step.work, lanes if step.each == "lane" else range(job.lane_plan().partitions))


def run_steps(prepared: Prepared, call: Call = once) -> None:
    """Every step of a build, lane by lane, without Beam; ``call`` makes each call."""
    job = prepared.job
    for segment in prepared.segments:
        call(lambda s=segment: read_pool_segment(job, s))
    lanes = call(lambda: lay_out(job))
    plan = job.lane_plan()

    def each(step: Callable[[Any, int], Any], numbers: Any) -> list[Any]:
        return [call(partial(step, job, number)) for number in numbers]

    before_fetch(job, each, call, lanes)
    each(send_identities, lanes)
    each(find_shared, range(plan.partitions) if lanes else ())
    if counts_hosts(job):
        each(send_hosts, lanes)
        each(find_hosts, range(plan.partitions) if lanes else ())
    each(fetch_lane, lanes)
    if counts_hosts(job):
        each(fetch_crowded, crowd_groups(job) if lanes else ())
    each(send_shared, lanes)
    if job.image_scorers:
        each(score_images, lanes)
    each(judge_lane, lanes)
    if job.decontamination is not None:
        each(find_contaminated, range(plan.partitions) if lanes else ())
    if job.against:
        each(find_images_in_builds, range(plan.partitions) if lanes else ())
    each(find_equal, range(plan.partitions) if lanes else ())
    if lanes:
        call(lambda: find_near(job))
        compare_more(job, each, call, lanes)
    decide_late(job, lanes, each, call)
    each(close_lane, lanes)
    each(write_kept, kept_files(job))
    runs = call(lambda: plan_shards(job))
    if job.shards.is_global and lanes:
        each(send_ordered, lanes)
        call(lambda: count_buckets(job))
        each(move_images, lanes)
    for run in runs:
        call(partial(write_shards, job, run))


def decide_late(job: Any, lanes: list[int], each: Callable[..., list[Any]], call: Call) -> None:
    """What is decided behind the duplicates: texts of one image, selections, written texts, the mixture."""
    if job.duplicates.merge_captions:
        each(send_captions, lanes)
    late = job.late_selections
    for number in [number for number in late if number < job.first_worded_selection]:
        each(partial(swapped, rank_living, number), lanes)
        call(partial(cut, job, number))
    for number in range(len(job.words)):
        each(partial(swapped, write_words, number), lanes)
    if job.words:
        each(judge_words, lanes)
    for number in [number for number in late if number >= job.first_worded_selection]:
        each(partial(swapped, rank_living, number), lanes)
        call(partial(cut, job, number))
    if job.mixture is not None and lanes:
        mix(job, lanes, call)


def run_choice(choice: Choice, call: Call = once) -> None:
    """Every step of a build that selects only, span by span, without Beam; ``call`` makes each call."""
    job = choice.job
    if not choice.segments:
        for segment in plan_segments(job.pool):
            call(lambda s=segment: read_pool_segment(job, s))
        lanes = call(lambda: lay_out(job))
        for step in (measure_captions, *((send_counted,) if job.counts else ())):
            for lane in lanes:
                call(partial(step, job, lane))
        if job.counts:
            for partition in range(job.lane_plan().partitions):
                call(partial(find_counts, job, partition))
            for lane in lanes:
                call(partial(take_counts, job, lane))
    call(partial(lay_spans, choice))
    for step in steps_of(choice):
        for number in step.numbers(choice):
            call(partial(step.run, choice, number))


def mix(job: Any, lanes: Any, call: Call) -> None:
    """The steps of a mixture."""

    def for_each(step: Callable[[Any, int], Any], numbers: Any) -> None:
        for number in numbers:
            call(partial(step, job, number))

    call(partial(sort_key_weights, job))
    if job.mixture.concepts is not None and not job.balances_pool:
        for_each(count_concepts, lanes)
        call(partial(sum_concepts, job))
    for_each(count_classes, lanes)
    call(partial(plan_mixture, job))
    for_each(rank_draws, lanes)
    call(partial(cut_draws, job))


class Builds:
    """Makes builds of recipes; each is ``OUT/dataset`` and so on."""

    def prepare(self, recipe: Path, out: Path, work: Path | None = None, lanes: int = 1, **sets: str) -> Prepared:
        settings = tuple(f"{key.replace('__', '.')}={value}" for key, value in sets.items())
        return prepare(load_recipe(recipe, settings=settings), out, work or out / "work", lanes)

    def make(
        self,
        recipe: Path,
        out: Path,
        work: Path | None = None,
        lanes: int = 1,
        execute: Callable[[Prepared], None] = run_steps,
        **sets: str,
    ) -> dict[str, Any]:
        ready = self.prepare(recipe, out, work, lanes, **sets)
        return dict(run_build(ready, work or out / "work", execute))

    choice = staticmethod(run_choice)

    def select(
        self,
        recipe: Path,
        out: Path,
        work: Path | None = None,
        execute: Callable[[Choice], None] = run_choice,
        **sets: str,
    ) -> dict[str, Any]:
        return run_selection(self.prepare(recipe, out, work, **sets), work or out / "work", execute)


@pytest.fixture(scope="session")
def builds() -> Builds:
    return Builds()


@pytest.fixture(scope="session")
def steps() -> Callable[..., None]:
    return run_steps


@pytest.fixture(scope="session")
def tree() -> Callable[..., dict[str, str]]:
    """The finished files under some folders, by path, with the digests of their bytes; logs are left out."""

    def read(*folders: Path) -> dict[str, str]:
        return {
            f"{folder.name}/{path.relative_to(folder)}": hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.is_file() and "log" not in path.relative_to(folder).parts and TEMPORARY_MARK not in path.name
        }

    return read


@pytest.fixture(scope="session")
def ledger() -> Callable[[Path, Any], dict[str, str | None]]:
    """The reason of each file of a folder pool, read from a build's ledger; None where it is kept."""

    def read(out: Path, prepared: Prepared) -> dict[str, str | None]:
        rows = pl.concat([pl.read_parquet(file) for file in sorted((out / "ledger").glob("*.parquet"))])
        paths = []
        commits = {commit.block: commit for commit in prepared.job.pool_store.log.read()}
        for block in rows["block"].unique(maintain_order=True):
            paths += prepared.job.pool_store.read([commits[block]], ["path"])["path"].to_list()
        return dict(zip(paths, rows["reason"].to_list(), strict=True))

    return read
