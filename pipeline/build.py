"""The course of a build that is prepared: locks, what killed runs left, the graph, the sealed dataset."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pairmill.pipeline.known_builds import kept_rows, note_build
from pairmill.pipeline.prepare import fetch_identity, step_fingerprint
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.seal import seal
from pairmill.pipeline.tombstones import tombstone_digests
from pairmill.pipeline.work import LOCK_NAME, WorkIdentity, check_work, holds_more_than, lock_folder
from pairmill.sharding.embeddings import FOLDER as EMBEDDINGS
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import MANIFEST_NAME
from pairmill.sharding.mds import FOLDER as MDS
from pairmill.sharding.mirror import entries, fresh, is_there, open_place, remove_file, remove_tree, shown
from pairmill.sharding.publish import publish_bytes, remove_temporaries
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.job import Job
from pairmill.transforms.spool import remove_orphans
from pairmill.transforms.spool_drop import SpoolPolicy, apply_policy


def run_build(
    prepared: Prepared,
    work: Path,
    execute: Callable[[Prepared], None],
    spool: SpoolPolicy | None = None,
    show: Callable[[Path], None] = lambda build: None,
) -> dict[str, object]:
    """Run a prepared build under the locks of both folders and return its report; a finished one is only reported.

    ``execute`` runs the graph. ``spool``: what becomes of the stored images once the dataset is committed (default:
    they stay); what went is ``spool_dropped_bytes`` of what is returned. ``show`` is called with the finished build
    before that. Whatever stops the run, the same command goes on from there.
    """
    spool = spool or SpoolPolicy()
    job = prepared.job
    build = open_place(job.build)
    with lock_folder(build, "the build folder"), lock_folder(work, "the work folder"):
        fingerprint = begin_build(build, prepared)
        check_work(work, work_identity(prepared))
        note_build(work, prepared)
        if is_there(job.dataset / MANIFEST_NAME):
            remove_tree(build / "parts")  # a run killed behind the manifest left them
            report = _report_of(build)
            show(build)
            return report | _drop(job, spool)
        measured = fold_stores(job)
        job.dataset.mkdir(parents=True, exist_ok=True)
        started = time.time()
        execute(prepared)
        report = seal(prepared, fingerprint, time.time() - started)
        for store in (job.pool_store, job.language_store, job.count_store, job.fetch_store, *measured):
            store.pack()
        remove_tree(build / "parts")
        remove_file(build / "error.txt")
        show(build)
        return report | _drop(job, spool)


def fold_stores(job: Job) -> list[StepStore]:
    """Clear what killed runs left and gather what they committed; returns the stores of what models measured."""
    clear_leftovers(job)
    measured = [*job.model_stores, *(run.store for run in job.evaluation if run.source.segments)]
    of_pool = (job.pool_store, job.segment_store, job.language_store, job.count_store)
    for store in (*of_pool, job.fetch_store, *measured):
        store.remove_unfinished()
    for store in (*of_pool, *measured):
        store.log.fold()
    remove_orphans(job.fetch_store, job.fetch_store.log.fold())
    return measured


def _drop(job: Job, spool: SpoolPolicy) -> dict[str, object]:
    """Drop what the policy does not leave of the spool; the bytes, if any, for the one who runs this."""
    dropped = apply_policy(job.fetch_store, spool, partial(kept_rows, open_place(job.build)))
    return {"spool_dropped_bytes": dropped.bytes} if dropped.bytes else {}


def _report_of(build: Path) -> dict[str, object]:
    """The report of a finished build."""
    path = build / "report.json"
    try:
        return dict(json.loads(fresh(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise PairmillError(
            f"the dataset in {shown(build)} is finished, but its {path.name} is missing or damaged; choose another "
            "--out to make it again (the same --work spares what was fetched)"
        ) from error


def begin_build(build: Path, prepared: Prepared) -> str:
    """Take a new build folder for this recipe, or make sure that an old one is of it; returns the fingerprint."""
    removed = tombstone_digests(prepared.job.rules)
    decides = [prepared.recipe_fingerprint(), *removed]
    fingerprint = step_fingerprint("build", prepared.job.pool_store.fingerprint, decides if removed else decides[0])
    path = fresh(build / "build.json")
    if path.is_file():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            same, name = known["fingerprint"] == fingerprint, known["recipe"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{shown(path)} is damaged; choose another --out") from error
        if not same:
            raise UsageError(
                f"{shown(build)} is the build of another recipe or pool ({name})"
                f"{', or of a time before pairs were removed' if removed else ''}; choose another --out "
                "(the same --work spares what was fetched)"
            )
    elif holds_more_than(build, LOCK_NAME, "work", "pool"):
        told = f"{shown(build)} is not empty and no build folder (it has no build.json)"
        raise UsageError(f"{told}; choose another --out")
    job = prepared.job
    record = {
        "format": "pairmill-build",
        "fingerprint": fingerprint,
        "recipe": prepared.recipe.name,
        "work": job.pool_store.work,
        "pool": job.pool_store.name,
        "fetch": job.fetch_store.name,
        "language": job.language_store.name if job.language is not None else None,
        "scores": {run.name: run.store.name for run in job.scorers},
        "words": {run.name: run.store.name for run in job.words},
        # Where the models lay, for `pairmill search`: the dataset itself knows no path.
        "scorers": {run.name: {run.scorer.kind: asdict(run.scorer)} for run in job.scorers},
    }
    publish_bytes(path, json.dumps(record, indent=1, default=str).encode())
    return fingerprint


def work_identity(prepared: Prepared) -> WorkIdentity:
    """What a work folder of this build is for."""
    pool = prepared.job.pool_store.fingerprint
    return WorkIdentity(pool, Path(prepared.recipe.pool.path).name, fetch_identity(prepared.recipe))


def clear_leftovers(job: Job) -> None:
    """Remove what killed attempts at this build left: exchanged rows and unfinished files."""
    parts = open_place(job.build) / "parts"
    for name in entries(parts):
        if parts / name != job.shard_log:
            remove_tree(parts / name)
    embeddings = (job.dataset / EMBEDDINGS).glob("**")
    mds = (job.dataset / MDS).glob("**")
    for folder in (job.dataset, job.dataset / "metadata", job.dataset / ".nv-meta", *embeddings, *mds):
        if folder.is_dir():
            remove_temporaries(folder)
