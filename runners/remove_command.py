"""``pairmill remove``: a takedown. Samples leave a finished dataset, and stay out of later builds."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pairmill.pipeline.tombstones import add_tombstones
from pairmill.pipeline.work import lock_folder
from pairmill.runners.report_command import page_again
from pairmill.sharding.errors import UsageError
from pairmill.sharding.removal import Kind, plan_removal, remove_samples
from pairmill.sharding.value_list import list_file, read_list


def remove_pairs(build: Path, kind: Kind, listed: Path, work: Path | None, dry_run: bool) -> int:
    """Take the listed pairs out of a build's dataset, and note them in its work folder; returns the exit code."""
    try:
        values = read_list(list_file(listed))
    except ValueError as error:
        raise UsageError(f"--list: {error}") from error
    dataset = build / "dataset" if (build / "dataset").is_dir() else build
    work = work or _work_of(build)
    if work is not None and not (work / "work.json").is_file():
        raise UsageError(f"{work} is no work folder (it has no work.json); name it with --work")
    held = build if dataset != build else None
    with _locked(held, "the build folder"), _locked(work, "the work folder"):
        plan = plan_removal(dataset, kind, values)
        print(f"{plan.samples:,} of {plan.manifest.samples:,} samples in {len(plan.places):,} shards are on the list")
        if dry_run:
            return 0
        if work is not None and plan.known_by:
            # Before the samples go: with them goes what they are known by.
            add_tombstones(work, plan.known_by)
            print(
                f"{work}: later builds leave these pairs and images out; their bytes stay there until pairmill gc "
                f"{work} --drop-spool"
            )
        elif work is None:
            print(f"{build} names no work folder: only the dataset is changed (--work names one)")
        done = remove_samples(plan)
        if held is not None:
            page_again(held)
    print(f"{dataset}: {done.samples:,} samples removed, {done.shards:,} shards written again")
    return 0


def _locked(folder: Path | None, purpose: str) -> AbstractContextManager[None]:
    return nullcontext() if folder is None else lock_folder(folder, purpose)


def _work_of(build: Path) -> Path | None:
    try:
        return Path(json.loads((build / "build.json").read_text(encoding="utf-8"))["work"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
