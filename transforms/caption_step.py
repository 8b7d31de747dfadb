"""Columns that are measured on the caption alone."""

from __future__ import annotations

import time
from itertools import accumulate

import polars as pl

from pairmill.transforms.job import Job
from pairmill.transforms.language import identify_languages


def measure_captions(job: Job, lane: int) -> None:
    """Commit the language columns of the lane's batches that no earlier run committed, a column file a batch."""
    if job.language is None:
        return
    done = job.language_store.snapshot("start")
    pool = job.pool_store.snapshot("captions")
    for batch in job.lane_plan().lane(lane):
        if all(block in done for block in batch) or job.language_store.adopt(batch) is not None:
            continue
        started = time.monotonic()
        commits = [pool[block][0] for block in batch]
        captions = job.pool_store.read(commits, ["caption"]).get_column("caption")
        lang, confidence = identify_languages(captions.to_list(), job.language)
        frame = pl.DataFrame({"lang": lang, "lang_confidence": confidence})
        ends = list(accumulate(commit.rows for commit in commits))
        frames = [frame[end - commit.rows : end] for commit, end in zip(commits, ends, strict=True)]
        job.language_store.commit(batch, frames, seconds=time.monotonic() - started)
