"""What a build tells of itself: the funnel, and what each step took."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from pairmill.pipeline.mixture_report import write_mixture_tables
from pairmill.sharding.commit_log import Commit
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.job import Job
from pairmill.transforms.judgement import DECONTAMINATION, DUPLICATES, FETCH, MIXTURE, READ, RULES, SELECTION, WORDS
from pairmill.transforms.score_report import all_lanes
from pairmill.transforms.select_step import cuts_of
from pairmill.transforms.semantic_step import semantic_report
from pairmill.transforms.spool import DROPPED, DROPPED_BYTES
from pairmill.transforms.words.server_settings import ServerSettings
from pairmill.transforms.words.step import REFINED, WRITTEN
from pairmill.transforms.words_report import all_counts, all_recycled
from pairmill.transforms.words_run import WordsRun


def build_report(job: Job, ledger: pl.DataFrame, seconds: float) -> dict[str, Any]:
    """The report of a finished build.

    ``ledger`` counts rows and samples by stage, reason and kept. Keys: ``pool_rows``, ``kept``, ``samples`` (a mixture
    may write a kept row several times), ``rejected`` (reason → rows), ``rejected_by_stage``, ``steps`` (name, rows_in,
    rows_out, seconds of work over all workers), ``fetch`` (status → images), ``oversized_groups`` (near duplicates of a
    picture that are too many to collapse: its ``row_id``, and ``rows`` with itself), ``seconds`` (of this run, wall);
    with semantic duplicates ``semantic``, see ``semantic_report``; with scorers ``score``, see ``_score``; with steps
    that write texts ``words``, see ``_words``, and where rows are recycled ``recycle``: reason → rows ``spoiled`` and
    ``recycled``; with selections ``selections``, one entry each; with a mixture ``mixture``, see
    ``write_mixture_tables``; with evaluation sets ``decontamination``, see ``pipeline/contamination.py``; with earlier
    builds ``against``. ``seal`` adds ``shards``, see ``tell_shards``.
    """
    plan = job.lane_plan()
    rejected = ledger.filter(~pl.col("kept")).sort("rows", "reason", descending=[True, False])
    fetched = _commits(job.fetch_store)
    statuses: dict[str, int] = {}
    for commit in fetched:
        for name, count in commit.counts.items():
            statuses[name] = statuses.get(name, 0) + count
    stored_bytes = statuses.pop("stored_bytes", 0)
    for name in (DROPPED, DROPPED_BYTES):  # images of an earlier build, no longer in the spool
        statuses.pop(name, None)
    by_stage = {
        stage: {row["reason"]: row["rows"] for row in rejected.filter(pl.col("stage") == stage).iter_rows(named=True)}
        for stage in _stages(job)
    }
    totals: dict[str, int] = {}
    for reasons in by_stage.values():
        for reason, rows in reasons.items():
            totals[reason] = totals.get(reason, 0) + rows
    pool_rows = int(plan.rows.sum())
    return {
        "pool_rows": pool_rows,
        "kept": int(ledger.filter(pl.col("kept")).get_column("rows").sum()),
        "samples": int(ledger.get_column("samples").sum()),
        "rejected": totals,
        "rejected_by_stage": by_stage,
        "steps": _steps(job, pool_rows, by_stage, fetched),
        "fetch": dict(sorted(statuses.items(), key=lambda item: -item[1])),
        "stored_bytes": stored_bytes,
        **({"score": _score(job)} if job.scorers else {}),
        **({"words": _words(job)} if job.words else {}),
        **({"recycle": asdict(all_recycled(job.parts / "log" / "recycled"))} if job.recycle is not None else {}),
        **(
            {"selections": tell_selections(job, range(len(job.selections) if plan.lanes else 0))}
            if job.selections
            else {}
        ),
        **({"mixture": write_mixture_tables(job)} if job.mixture is not None and plan.lanes else {}),
        **({"against": _against(job)} if job.against else {}),
        "oversized_groups": _oversized_groups(job),
        **({"semantic": semantic_report(job)} if plan.lanes and job.duplicates.semantic != "off" else {}),
        "seconds": round(seconds, 3),
    }


def _stages(job: Job) -> tuple[str, ...]:
    """The stages of the funnel; where all selections are made before texts are written, they come first."""
    selection = (SELECTION,) if job.late_selections else ()
    worded = (WORDS,) if job.words else ()
    early = all(number < job.first_worded_selection for number in job.late_selections)
    mixture = (MIXTURE,) if job.mixture is not None else ()
    known = (DECONTAMINATION,) if job.decontamination is not None else ()
    return (READ, RULES, FETCH, *known, DUPLICATES, *(selection + worded if early else worded + selection), *mixture)


def _words(job: Job) -> dict[str, dict[str, Any]]:
    """What writing took, by step.

    Each has ``kind``, ``model``, ``rows`` (that it stood for), ``new_rows`` (written for by this run), ``requests``
    made by this run (``refined`` of them for a second time, ``remembered`` besides: answered before a kill),
    ``retries``, tokens, ``seconds`` of work over all workers, ``rows_per_second`` of it, and ``statuses``: text →
    status → rows. With a server ``cost`` of this run's tokens at the recipe's prices, its ``currency``, and
    ``all_runs``: tokens and cost of all texts in the work folder, whichever run they were written in.
    """
    found = {}
    for number, run in enumerate(job.words):
        count = all_counts(job.parts / "log" / f"words-{number}")
        told = asdict(count)
        told["seconds"] = round(count.seconds, 3)
        told["rows_per_second"] = round(count.new_rows / count.seconds, 1) if count.seconds else 0.0
        server = getattr(run.step, "server", None)
        if isinstance(server, ServerSettings):
            told["cost"] = round(server.cost(count.prompt_tokens, count.completion_tokens), 6)
            told["currency"] = server.currency
            told["all_runs"] = _paid(run, server)
        found[run.name] = {"kind": run.step.kind, "model": run.model, **told}
    return found


def _paid(run: WordsRun, server: ServerSettings) -> dict[str, float]:
    counts = [commit.counts for commit in _commits(run.store)]
    prompt, completion = (sum(each.get(name, 0) for each in counts) for name in ("prompt_tokens", "completion_tokens"))
    cost = round(server.cost(prompt, completion), 6)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "cost": cost}


def tell_selections(job: Job, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """What each selection was over: ``rows`` stood for it, ``scored`` had a value, ``wanted`` were asked for.

    One that overfetches is told twice: what was taken before the fetch, and the exact cut among what was left.
    """
    told = []
    for number in numbers:
        cuts, selection = cuts_of(job, number), job.selections[number]
        sums = {name: int(cuts.get_column(name).sum()) for name in ("rows", "scored", "wanted")}
        of = {"of": selection.of, "overfetch": selection.overfetch} if selection.overfetch else {"of": selection.of}
        told.append({"column": selection.column, **of, "groups": cuts.height, **sums})
    return told


def _against(job: Job) -> list[dict[str, Any]]:
    """The earlier builds whose pairs were left out, and how many pairs each has."""
    return [{"build": Path(build.path).name, "rows": build.rows} for build in job.against]


def _oversized_groups(job: Job) -> list[dict[str, int]]:
    path = job.parts / "oversized_groups.json"  # written where near duplicates are looked for
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _commits(store: StepStore) -> list[Commit]:
    return store.log.read()


def _steps(
    job: Job, pool_rows: int, by_stage: dict[str, dict[str, int]], fetched: list[Commit]
) -> list[dict[str, Any]]:
    """One entry a stage in the order of the way: the funnel."""
    work = {
        READ: sum(c.seconds for c in _commits(job.pool_store)),
        RULES: sum(c.seconds for c in _commits(job.language_store)) if job.language is not None else 0.0,
        FETCH: sum(c.seconds for c in fetched),
        DECONTAMINATION: 0.0,
        DUPLICATES: 0.0,
        WORDS: sum(c.seconds for run in job.words for c in _commits(run.store)),
        SELECTION: 0.0,
        MIXTURE: 0.0,
    }
    steps, rows = [], pool_rows
    for stage, reasons in by_stage.items():
        out = rows - sum(reasons.values())
        if stage == DUPLICATES:
            steps += _score_steps(job)
        steps.append({"name": stage, "rows_in": rows, "rows_out": out, "seconds": round(work[stage], 3)})
        rows = out
    return steps


def _score_steps(job: Job) -> list[dict[str, Any]]:
    """The steps ``score_texts`` and ``score``, where there are such scorers.

    Their ``rows_in`` are the rows alive when they ran; what rules on scores reject counts as the stage ``rules`` too.
    """
    steps = []
    for name, folder, runs in (
        ("score_texts", "texts", job.text_scorers),
        ("score", "images", job.image_scorers),
    ):
        if runs:
            told = all_lanes(job.parts / "log" / folder)
            seconds = sum(commit.seconds for run in runs for commit in _commits(run.store))
            steps.append(
                {"name": name, "rows_in": told.rows_in, "rows_out": told.rows_out, "seconds": round(seconds, 3)}
            )
    return steps


def _score(job: Job) -> dict[str, Any]:
    """What scoring took: ``texts`` and ``images``, where there are such scorers.

    Each has ``measured`` (pairs that this run measured), ``wall_seconds``, ``pairs_per_second``, ``work_seconds`` (by
    phase, over all threads), ``device_busy_seconds`` (of GPUs), ``shares`` of the phases, ``binds`` (what more of
    would make it faster; None where nothing was measured), and ``scorers``: ``pairs`` (living rows), ``measured`` (by
    this run), ``outcomes`` (why rows have no score → rows), ``tokens_cut`` (rows whose text was cut).
    """
    found: dict[str, Any] = {}
    for folder, runs in (("texts", job.text_scorers), ("images", job.image_scorers)):
        if not runs:
            continue
        told = all_lanes(job.parts / "log" / folder)
        timing = told.whole_timing()
        work = {"decode": timing.decode_s, "preprocess": timing.preprocess_s, "forward": timing.forward_s}
        found[folder] = {
            "measured": timing.pairs,
            "wall_seconds": round(timing.wall_s, 3),
            "pairs_per_second": round(timing.pairs_per_s, 1),
            "work_seconds": {phase: round(seconds, 3) for phase, seconds in work.items()},
            "device_busy_seconds": round(timing.device_busy_s, 3),
            "shares": {phase: round(share, 3) for phase, share in timing.shares.items()},
            "binds": timing.binds if timing.pairs else None,
            "scorers": {name: asdict(count) for name, count in told.scorers.items()},
        }
    return found


def funnel_lines(report: dict[str, Any]) -> list[tuple[str, str, int, float]]:
    """The funnel for people: (stage, reason, rows, share of the pool), the kept rows last."""
    pool = max(1, report["pool_rows"])
    lines = [("pool", "", report["pool_rows"], 1.0)]
    for stage, reasons in report["rejected_by_stage"].items():
        lines += [(stage, reason, rows, rows / pool) for reason, rows in reasons.items()]
    lines.append(("kept", "", report["kept"], report["kept"] / pool))
    return lines


def left_lines(report: dict[str, Any]) -> list[str]:
    """What a selection did not decide, for people."""
    return [f"left for a whole run: {what}" for what in report.get("left", [])]


def score_lines(report: dict[str, Any]) -> list[str]:
    """What scoring took, for people; a line for texts and one for images, where this run measured any."""
    lines = []
    for what, told in report.get("score", {}).items():
        if told["measured"]:
            shares = ", ".join(f"{phase} {share:.0%}" for phase, share in told["shares"].items() if share)
            binds = f" ({shares} of the work: {told['binds']} binds)" if told["binds"] else ""
            lines.append(f"{what}: {told['measured']:,} scored, {told['pairs_per_second']:,.0f} pairs/s{binds}")
        for name, count in told["scorers"].items():
            if count["outcomes"]:
                listed = ", ".join(f"{outcome} {rows:,}" for outcome, rows in count["outcomes"].items())
                lines.append(
                    f"{name}: no score for {sum(count['outcomes'].values()):,} of {count['pairs']:,}: {listed}"
                )
            if count["tokens_cut"]:
                lines.append(f"{name}: {count['tokens_cut']:,} texts were longer than the model reads, and cut")
    return lines


def words_lines(report: dict[str, Any]) -> list[str]:
    """What writing texts took, for people; a line for each step, and one for each text that is not always there."""
    lines = []
    for name, told in report.get("words", {}).items():
        if told["new_rows"]:
            tokens = told["prompt_tokens"] + told["completion_tokens"]
            counted = f", {tokens:,} tokens" if tokens else ""
            if told.get("cost"):
                counted += f", {told['cost']:,.2f} {told['currency']}"
            if told["retries"]:
                counted += f", {told['retries']:,} attempts again"
            lines.append(
                f"{name}: {told['new_rows']:,} rows written for by {told['model']}, "
                f"{told['rows_per_second']:,.0f} rows/s of one worker, {told['requests']:,} requests{counted}"
            )
        for text, statuses in told["statuses"].items():
            absent = {status: rows for status, rows in statuses.items() if status not in (WRITTEN, REFINED)}
            if absent:
                listed = ", ".join(f"{status} {rows:,}" for status, rows in absent.items())
                lines.append(f"{text}: no text for {sum(absent.values()):,} of {told['rows']:,}: {listed}")
    if recycled := report.get("recycle"):
        for reason, rows in recycled["spoiled"].items():
            lines.append(f"recycled: {recycled['recycled'].get(reason, 0):,} of {rows:,} that were {reason}")
    return lines
