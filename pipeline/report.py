"""What a build tells of itself: the funnel, and what each step took."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from pairmill.sharding.commit_log import Commit
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.job import Job
from pairmill.transforms.judgement import DUPLICATES, FETCH, READ, RULES


def build_report(job: Job, ledger: pl.DataFrame, seconds: float) -> dict[str, Any]:
    """The report of a finished build.

    ``ledger`` counts rows by stage, reason and kept. Keys: ``pool_rows``, ``kept``, ``rejected`` (reason → rows),
    ``rejected_by_stage``, ``steps`` (name, rows_in, rows_out, seconds of work over all workers), ``fetch`` (status →
    images), ``oversized_groups`` (near duplicates of a picture that are too many to collapse: its ``row_id``, and
    ``rows`` with itself), ``seconds`` (of this run, wall).
    """
    plan = job.lane_plan()
    rejected = ledger.filter(~pl.col("kept")).sort("rows", "reason", descending=[True, False])
    fetched = _commits(job.fetch_store)
    statuses: dict[str, int] = {}
    for commit in fetched:
        for name, count in commit.counts.items():
            statuses[name] = statuses.get(name, 0) + count
    stored_bytes = statuses.pop("stored_bytes", 0)
    by_stage = {
        stage: {row["reason"]: row["rows"] for row in rejected.filter(pl.col("stage") == stage).iter_rows(named=True)}
        for stage in (READ, RULES, FETCH, DUPLICATES)
    }
    totals: dict[str, int] = {}
    for reasons in by_stage.values():
        for reason, rows in reasons.items():
            totals[reason] = totals.get(reason, 0) + rows
    pool_rows = int(plan.rows.sum())
    return {
        "pool_rows": pool_rows,
        "kept": int(ledger.filter(pl.col("kept")).get_column("rows").sum()),
        "rejected": totals,
        "rejected_by_stage": by_stage,
        "steps": _steps(job, pool_rows, by_stage, fetched),
        "fetch": dict(sorted(statuses.items(), key=lambda item: -item[1])),
        "stored_bytes": stored_bytes,
        "oversized_groups": _oversized_groups(job),
        "seconds": round(seconds, 3),
    }


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
        DUPLICATES: 0.0,
    }
    steps, rows = [], pool_rows
    for stage, reasons in by_stage.items():
        out = rows - sum(reasons.values())
        steps.append({"name": stage, "rows_in": rows, "rows_out": out, "seconds": round(work[stage], 3)})
        rows = out
    return steps


def funnel_lines(report: dict[str, Any]) -> list[tuple[str, str, int, float]]:
    """The funnel for people: (stage, reason, rows, share of the pool), the kept rows last."""
    pool = max(1, report["pool_rows"])
    lines = [("pool", "", report["pool_rows"], 1.0)]
    for stage, reasons in report["rejected_by_stage"].items():
        lines += [(stage, reason, rows, rows / pool) for reason, rows in reasons.items()]
    lines.append(("kept", "", report["kept"], report["kept"] / pool))
    return lines
