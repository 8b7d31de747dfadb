"""A part of a build: it fetches, or measures with models, into the work folder, and a later run goes on from there.

So what needs GPUs can be a job of its own on machines that have some, between two on machines that have none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pairmill.pipeline.build import begin_build, fold_stores, work_identity
from pairmill.pipeline.known_builds import note_build
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.work import check_work, lock_folder
from pairmill.sharding.errors import UsageError
from pairmill.sharding.manifest import MANIFEST_NAME
from pairmill.sharding.mirror import is_there, open_place, remove_file, remove_tree
from pairmill.transforms.job import Job

#: What a run may stop behind: the fetch, the scores of images, the texts that models write.
PARTS = ("fetch", "score", "words")


def check_part(prepared: Prepared, part: str) -> None:
    """Raise UsageError where the recipe has no step of the part."""
    job = prepared.job
    if part == "score" and not job.scorers:
        raise UsageError("--steps score: the recipe has no scorers")
    if part == "words" and not job.words:
        raise UsageError("--steps words: the recipe has no steps that write texts (words)")


def run_part(prepared: Prepared, work: Path, execute: Callable[[Prepared], None]) -> dict[str, int]:
    """Run a part of a prepared build under the locks of both folders. ``execute`` runs its graph.

    Returns how many rows the work folder then has by what they were made by: ``fetch``, or the name of a scorer or of a
    step that writes texts. Nothing is run where the dataset is there already.
    """
    job = prepared.job
    build = open_place(job.build)
    with lock_folder(build, "the build folder"), lock_folder(work, "the work folder"):
        begin_build(build, prepared)
        check_work(work, work_identity(prepared))
        note_build(work, prepared)
        if not is_there(job.dataset / MANIFEST_NAME):
            fold_stores(job)
            execute(prepared)
            remove_tree(build / "parts")
            remove_file(build / "error.txt")
        return _rows(job)


def _rows(job: Job) -> dict[str, int]:
    stores = {"fetch": job.fetch_store}
    stores |= {run.name: run.store for run in job.scorers}
    stores |= {run.name: run.store for run in job.words}
    return {name: sum(commit.rows for commit in store.log.read()) for name, store in stores.items()}
