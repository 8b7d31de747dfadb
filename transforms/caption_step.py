"""Columns that are measured on the caption alone."""

from __future__ import annotations

import time

import polars as pl

from pairmill.transforms.job import Job
from pairmill.transforms.language import identify_languages


def measure_captions(job: Job, blocks: list[int]) -> None:
    """Commit the language columns of those blocks that no earlier run committed; nothing where none are asked for."""
    if job.language is None:
        return
    done = job.language_store.snapshot("start")
    pool = job.pool_store.snapshot("captions")
    for block in blocks:
        if block in done or job.language_store.adopt([block]) is not None:
            continue
        started = time.monotonic()
        captions = job.pool_store.read(pool[block][0], ["caption"]).get_column("caption")
        lang, confidence = identify_languages(captions.to_list(), job.language)
        frame = pl.DataFrame({"lang": lang, "lang_confidence": confidence})
        job.language_store.commit([block], [frame], seconds=time.monotonic() - started)
