"""A build that selects only: verdicts by the pool's own columns, and nothing is fetched.

It leaves ``ledger/``, ``selection/uids.npy`` (the sorted uids of the kept rows, a DataComp subset) and the report. The
same recipe run whole over the same folders goes on from there.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pairmill.pipeline.build import begin_build, clear_leftovers, work_identity
from pairmill.pipeline.known_builds import note_build
from pairmill.pipeline.mixture_report import write_mixture_tables
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.report import tell_selections
from pairmill.pipeline.select_files import MARK, UIDS
from pairmill.pipeline.work import check_work, lock_folder
from pairmill.sharding.array_files import read_arrays
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.manifest import MANIFEST_NAME
from pairmill.sharding.mirror import fresh, is_there, listed, open_place, pull, remove_file, remove_tree, shown
from pairmill.sharding.mirror_space import LAZY_SUFFIXES
from pairmill.sharding.pair import block_name
from pairmill.sharding.publish import publish_bytes, sum_file
from pairmill.sharding.subset_file import write_sorted_subset
from pairmill.transforms.duplicate_settings import DuplicateSettings
from pairmill.transforms.job import Job
from pairmill.transforms.judgement import DUPLICATES, MIXTURE, READ, RULES, SELECTION
from pairmill.transforms.known.in_build_rule import InBuild
from pairmill.transforms.mixture.concept_rule import ConceptRule
from pairmill.transforms.pool.segment_file import save_segments
from pairmill.transforms.pool_choice.choice import POOL_SHA256, Choice, EqualKind, columns_of_segments
from pairmill.transforms.pool_choice.close import counts, samples_written, sorted_uids
from pairmill.transforms.pool_choice.reasons import KEPT
from pairmill.transforms.selection.cut_rule import CutRule
from pairmill.transforms.selection.settings import FinalSelection

_LANGUAGE = ("lang", "lang_confidence")


def plan_choice(prepared: Prepared) -> Choice:
    """What of a build can be decided by the pool's columns, and what is left for the fetch."""
    job = prepared.job
    pool = columns_of_segments(prepared.segments) | {"uid", "url", "path", "caption"}
    # These have steps of their own.
    judging = [rule for rule in job.rules if not isinstance(rule, CutRule | ConceptRule | InBuild)]
    asked = {column for rule in judging for column in rule.columns()}
    asked |= set(job.mixture.columns()) if job.mixture is not None else set()
    asked |= {name for selection in job.selections for name in (selection.column, selection.by) if name}
    if not asked & set(_LANGUAGE):
        job = dataclasses.replace(job, language=None)
    columns = pool | (set(_LANGUAGE) if job.language is not None else set()) | set(job.counts)
    measured = {name for run in job.scorers for name in run.columns()}
    known = columns - measured
    rules = tuple(rule for rule in judging if known.issuperset(rule.columns()))
    left = [
        f"rule {rule.name}: needs {', '.join(sorted(set(rule.columns()) - known))}"
        for rule in judging
        if rule not in rules
    ]
    late = []
    for number in job.late_selections:
        selection = job.selections[number]
        if isinstance(selection, FinalSelection):
            left.append(f"the exact cut by {selection.column} and what follows it: made among the rows that arrive")
            break
        needed = {selection.column, selection.by or selection.column} - known
        if needed or number >= job.first_worded_selection:
            why = f"needs {', '.join(sorted(needed))}" if needed else "made after texts are written"
            left.append(f"select[{number}] and what follows it: {why}")
            break
        late.append(number)
    equal, undecided = _equality(job.duplicates, known)
    in_place = (
        job.language is None and not job.counts and all(segment.format == "parquet" for segment in prepared.segments)
    )
    undone = (*left, *undecided, *_later_steps(job))
    mixes = job.mixture is not None and not undone and not job.balances_pool and known.issuperset(job.mixture.columns())
    return Choice(
        job=job,
        segments=tuple(prepared.segments) if in_place else (),
        columns=frozenset(known),
        rules=rules,
        early=tuple(job.pool_selections),
        late=tuple(late),
        equal=equal,
        own_uids="uid" in columns_of_segments(prepared.segments) and not job.pool.rekey,
        mixes=mixes,
        left=(*undone, *(() if mixes or job.mixture is None else ("mixture: draws from the rows that are kept",))),
    )


def _later_steps(job: Job) -> Iterator[str]:
    """The steps of a whole run that judge or change rows, and need images or models."""
    if job.against:
        yield "against: what earlier builds have"
    if job.decontamination is not None:
        yield "decontamination: needs the images"
    if job.all_reasons:
        yield "all_reasons: told by a whole run; this ledger has the first of each row"
    for run in job.words:
        yield f"words {run.name}: writes texts"
    if job.recycle is not None:
        yield "recycle: brings back rows that rules on the caption reject, by texts that are written"


def _equality(settings: DuplicateSettings, known: Collection[str]) -> tuple[tuple[EqualKind, ...], list[str]]:
    """The kinds of duplicates that columns tell, and what they do not."""
    kinds = ("url", "sha256", "near", "caption", "caption_minhash", "semantic")
    asked = [kind for kind in kinds if getattr(settings, kind) == "reject"]
    if settings.survivor_column is not None and settings.survivor_column not in known:
        return (), [f"duplicates: which survives needs {settings.survivor_column}"] if asked else []
    equal: list[EqualKind] = []
    left = []
    if "url" in asked:
        equal.append("url")
    if "sha256" in asked and POOL_SHA256 in known:
        equal.append("sha256")
    elif "sha256" in asked:
        left.append("duplicates by sha256: the pool brings no column sha256")
    if "near" in asked:
        left.append("near duplicates: need the images")
    # Compared among what near pictures leave.
    left += [f"duplicates by {kind}: found by a whole run" for kind in asked if kind not in ("url", "sha256", "near")]
    if "reject" in (settings.caption, settings.caption_minhash):
        left.append("duplicates by caption: among the rows that images leave")
    if settings.semantic == "reject":
        left.append("duplicates by embeddings: among the rows that images leave")
    return tuple(equal), left


def run_selection(prepared: Prepared, work: Path, execute: Callable[[Choice], None]) -> dict[str, Any]:
    """Run the choice of a prepared build under the locks of both folders and return its report.

    A finished one is only reported. ``execute`` runs the graph. Whatever stops the run, the same command begins anew.
    Raises PairmillError where a row is not accounted for.
    """
    choice = plan_choice(prepared)
    job, build = choice.job, open_place(choice.job.build)
    with lock_folder(build, "the build folder"), lock_folder(work, "the work folder"):
        fingerprint = begin_build(build, prepared)
        check_work(work, work_identity(prepared))
        note_build(work, prepared)
        if is_there(job.dataset / MANIFEST_NAME):
            raise PairmillError(f"{shown(build)} is a finished dataset; its ledger says what was kept")
        if (done := _finished(build, fingerprint)) is not None:
            return done
        clear_leftovers(job)
        for store in (job.pool_store, job.segment_store, job.language_store, job.count_store):
            store.remove_unfinished()
            store.log.fold()
        if choice.segments:  # a graph that carries them would grow with the pool
            choice = dataclasses.replace(choice, segments=save_segments(job.segments_path, choice.segments))
        started = time.time()
        execute(choice)
        pull(job.parts, "seal", LAZY_SUFFIXES)
        report = _seal(choice, fingerprint, time.time() - started)
        remove_tree(build / "parts")
        remove_file(build / "error.txt")
        return report


def _finished(build: Path, fingerprint: str) -> dict[str, Any] | None:
    try:
        mark = json.loads(fresh(build / MARK).read_text(encoding="utf-8"))
        return dict(mark["report"]) if mark["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _seal(choice: Choice, fingerprint: str, seconds: float) -> dict[str, Any]:
    """Account for every row, write the uids and the report, and the mark last."""
    job, plan = choice.job, choice.plan()
    rows = counts(choice)
    if rows.sum() != plan.pool_rows:
        raise PairmillError(f"the ledger has {rows.sum()} rows and the pool {plan.pool_rows}: this is a fault of ours")
    _remove_strangers(choice)
    build = open_place(job.build)
    remove_file(build / MARK)
    write_sorted_subset(build / UIDS, samples_written(choice), sorted_uids(choice))
    report = _report(choice, rows, seconds)
    told = json.dumps(report, indent=1, ensure_ascii=False).encode("utf-8", "replace")
    publish_bytes(build / "report.json", told)
    digest = sum_file(build / UIDS, build).sha256
    mark = {"format": "pairmill-selection", "fingerprint": fingerprint, "uids_sha256": digest, "report": report}
    mark["pool"] = {**dataclasses.asdict(job.pool), "path": str(Path(job.pool.path).resolve())}
    publish_bytes(build / MARK, json.dumps(mark, indent=1).encode())
    return report


def _remove_strangers(choice: Choice) -> None:
    """Files of another ledger, of a run that was stopped before it was whole."""
    plan = choice.plan()
    names = {f"{block_name(int(plan.blocks[start]))}.parquet" for start in plan.starts.tolist()}
    for stale in listed(choice.job.ledger, "*"):
        if stale.name not in names:
            remove_file(stale)


def _report(choice: Choice, rows: np.ndarray, seconds: float) -> dict[str, Any]:
    """The report of a selection: see ``build_report``; ``left`` says what only a whole run decides."""
    stages = [READ, RULES, DUPLICATES]
    stages += [SELECTION] if choice.late else []
    stages += [MIXTURE] if choice.mixes else []
    by_stage: dict[str, dict[str, int]] = {stage: {} for stage in stages}
    for (stage, reason), count in zip(choice.reasons.table, rows.tolist(), strict=True):
        if stage is not None and reason is not None and count:
            by_stage[stage][reason] = count
    totals: dict[str, int] = {}
    for reasons in by_stage.values():
        for reason, count in reasons.items():
            totals[reason] = totals.get(reason, 0) + count
    steps, alive = [], int(rows.sum())
    work = {READ: ("read",), RULES: ("settle",), DUPLICATES: ("url", "sha256"), SELECTION: ("close",), MIXTURE: ()}
    for stage, reasons in by_stage.items():
        out = alive - sum(reasons.values())
        taken = sum(_seconds(choice, name) for name in work[stage])
        steps.append({"name": stage, "rows_in": alive, "rows_out": out, "seconds": round(taken, 3)})
        alive = out
    return {
        "pool_rows": int(rows.sum()),
        "kept": int(rows[KEPT]),
        "samples": samples_written(choice),
        "rejected": totals,
        "rejected_by_stage": {
            stage: dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
            for stage, reasons in by_stage.items()
        },
        "steps": steps,
        **({"selections": tell_selections(choice.job, choice.numbers)} if choice.numbers else {}),
        **({"mixture": write_mixture_tables(choice.job)} if choice.mixes and rows.sum() else {}),
        "left": list(choice.left),
        "seconds": round(seconds, 3),
    }


def _seconds(choice: Choice, stage: str) -> float:
    return sum(float(read_arrays(path)["seconds"][0]) for path in listed(choice.folder / f"seconds-{stage}", "*.arrow"))
