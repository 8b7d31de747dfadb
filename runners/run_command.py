"""``pairmill run`` and ``pairmill validate``."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairmill.pipeline.build import run_build
from pairmill.pipeline.part_build import PARTS, check_part, run_part
from pairmill.pipeline.prepare import prepare
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.recipe import load_recipe
from pairmill.pipeline.recipe_file import find_recipe
from pairmill.pipeline.select_build import run_selection
from pairmill.pipeline.space import check_select_space
from pairmill.pipeline.space import check_space as require_space
from pairmill.runners.places import below, open_to_write
from pairmill.runners.progress import Progress, print_funnel
from pairmill.runners.quick_beam import quick_beam
from pairmill.runners.report_command import page_of_run, tell_page
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.runners.submit import greeted, run_on
from pairmill.runners.worker import dismiss, start_worker
from pairmill.sharding.byte_size import parse_bytes, told_bytes
from pairmill.sharding.errors import UsageError
from pairmill.sharding.mirror import is_mirrored, shown
from pairmill.transforms.pool_choice.choice import Choice
from pairmill.transforms.spool_drop import SpoolPolicy, dropped_images


def run_recipe(
    recipe: str,
    out: Path | str,
    work: Path | str | None = None,
    pool: str | None = None,
    settings: tuple[str, ...] = (),
    against: tuple[Path, ...] = (),
    runner: RunnerChoice | None = None,
    check_space: bool = True,
    quiet: bool = False,
    steps: str = "all",
    spool: str = "keep",
    min_free: str | None = None,
    publish_to: str | None = None,
) -> int:
    """Make a dataset; returns 0. With ``steps`` ``select`` decide what the pool's columns tell and fetch nothing; with
    one of PARTS fetch, or measure with models, and leave the rest to a later run.

    ``out`` and ``work`` are folders, or URLs of a store: what all workers see. ``runner`` says where the work is done
    (default: in this process). ``spool``: what becomes of the stored images once the dataset is there, as
    ``SpoolPolicy.parse`` has it. ``min_free``: a size; with less left on a disk the run stops.
    ``publish_to``: a URL that the dataset is copied to in the end.

    Raises UsageError before any work, PairmillError for a run that failed.
    """
    runner = runner or RunnerChoice()
    policy, loaded = _spool_policy(spool), load_recipe(find_recipe(recipe), pool, settings, against)
    build = open_to_write(out)
    work = open_to_write(work or below(out, "work"))
    if policy.kind == "cap" and is_mirrored(work):
        raise UsageError(f"--spool {spool}: {shown(work)} is a store; keep the images there, or drop them")
    prepared = prepare(loaded, build, work, runner.lanes, runner.workers, _least_free(min_free))
    _check_publishing(publish_to, steps, build)
    check_part(prepared, steps)
    if runner.is_cluster:
        prepared = greeted(prepared)
    if not quiet and steps != "select":
        _tell_dropped(prepared)
    if check_space and not (is_mirrored(build) or is_mirrored(work)):
        _check_space(prepared, build, work, steps)
    # The workers load while this process does.
    alone = runner.is_cluster or runner.workers == 1
    started = [] if alone else [start_worker() for _ in range(runner.workers)]
    try:
        if steps in PARTS:
            _tell_part(run_part(prepared, work, _executed(runner, started, quiet, steps)), out, quiet)
            return 0
        if steps == "select":
            report = _select(prepared, work, runner, started)
        else:
            # The page is made of files at hand.
            show = (lambda build: None) if is_mirrored(build) else page_of_run
            report = run_build(prepared, work, _executed(runner, started, quiet), policy, show)
    finally:
        dismiss(started)
    if not quiet:
        print_funnel(report, out)
        _tell_drop(report, work, spool)
        if steps == "all" and not is_mirrored(build):
            tell_page(build)
    return _publish(build, publish_to, quiet)


def _check_space(prepared: Prepared, build: Path, work: Path, steps: str) -> None:
    if steps == "select":
        check_select_space(prepared, build)
    else:
        require_space(prepared, build, work)


def _check_publishing(url: str | None, steps: str, build: Path) -> None:
    """A store that cannot be reached is told before the work, not after it."""
    if url is None:
        return
    if steps != "all":
        raise UsageError(f"--publish: a run with --steps {steps} makes no dataset")
    if is_mirrored(build):
        raise UsageError(f"--publish: the dataset is in a store already, {shown(build)}; pairmill stage-in copies it")
    from pairmill.transforms.publish_dataset import check_target  # with fsspec: not for runs that publish nothing

    check_target(url)


def _publish(build: Path, url: str | None, quiet: bool) -> int:
    if url is None:
        return 0
    from pairmill.runners.publish_command import publish

    return publish(build, url, quiet=quiet)


def _executed(
    runner: RunnerChoice, started: list[subprocess.Popen[bytes]], quiet: bool, until: str | None = None
) -> Callable[[Prepared], None]:
    """What runs the graph of a build, or a part of it."""
    with quick_beam():
        from pairmill.transforms.wiring.build_dataset import BuildDataset

    def execute(ready: Prepared) -> None:
        gc.freeze()  # what was loaded stays: no collection need look at it again, the last one neither
        graph = BuildDataset(ready.job, until, runner.model_hints)
        try:
            with Progress(ready, enabled=not quiet):
                run_on(runner, ready.segments, graph, ready.job, started)
        finally:
            if "torch" in sys.modules:  # parts of it complain at the end of what nobody took apart
                gc.unfreeze()

    return execute


def _tell_part(rows: dict[str, int], out: Path | str, quiet: bool) -> None:
    if not quiet:
        told = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        print(f"{out}: rows that the work folder has now: {told}; the same command without --steps goes on from here")


def _select(
    prepared: Prepared, work: Path, runner: RunnerChoice, started: list[subprocess.Popen[bytes]]
) -> dict[str, object]:
    with quick_beam():
        from pairmill.transforms.wiring.choose_rows import ChooseRows

    def execute(choice: Choice) -> None:
        gc.freeze()
        run_on(runner, prepared.segments, ChooseRows(choice), choice.job, started)

    return run_selection(prepared, work, execute)


def _spool_policy(text: str) -> SpoolPolicy:
    try:
        return SpoolPolicy.parse(text)
    except ValueError as error:
        raise UsageError(f"--spool: {error}") from error


def _least_free(text: str | None) -> int | None:
    try:
        return None if text is None else parse_bytes(text)
    except ValueError as error:
        raise UsageError(f"--min-free: {error}") from error


def _tell_drop(report: dict[str, Any], work: Path, spool: str) -> None:
    if dropped := report.get("spool_dropped_bytes"):
        print(f"{shown(work)}: {told_bytes(int(dropped))} of stored images dropped (--spool {spool})")


def _tell_dropped(prepared: Prepared) -> None:
    images, size = dropped_images(prepared.job.fetch_store.log.read())
    if images:
        print(
            f"pairmill: {images:,} images ({told_bytes(size)}) were dropped from the spool of this work folder; "
            "those that this build needs are fetched again",
            file=sys.stderr,
        )


def validate_recipe(recipe: str, pool: str | None, settings: tuple[str, ...]) -> int:
    """Check a recipe and the names in its pool, say what was found, and write nothing."""
    loaded = load_recipe(find_recipe(recipe), pool, settings)
    prepared = prepare(loaded, Path("unused"), Path("unused"), lanes=1)
    known = [segment.rows for segment in prepared.segments]
    rows = "rows unknown until read" if None in known else f"{sum(n or 0 for n in known):,} rows"
    files = len({segment.file for segment in prepared.segments})
    print(f"recipe {loaded.name}: fine; pool {loaded.pool.path}: {files} files, {rows}")
    return 0
