"""A build: everything is checked, then the graph runs, then the dataset is sealed."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from pairmill.filters.rule import Rule
from pairmill.filters.verdict import needed_columns
from pairmill.pipeline.known_builds import kept_rows, note_build
from pairmill.pipeline.prepare_against import prepare_against
from pairmill.pipeline.prepare_evaluation import prepare_evaluation
from pairmill.pipeline.prepare_scorers import prepare_scorers
from pairmill.pipeline.prepare_words import check_choice, first_worded_selection, prepare_words, split_rules
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.recipe import OPERATIONAL, Recipe
from pairmill.pipeline.seal import seal
from pairmill.pipeline.tombstones import tombstone_digests, tombstone_rules
from pairmill.pipeline.work import LOCK_NAME, WorkIdentity, check_work, holds_more_than, lock_folder
from pairmill.sharding.embeddings import FOLDER as EMBEDDINGS
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import MANIFEST_NAME
from pairmill.sharding.mds import FOLDER as MDS
from pairmill.sharding.mirror import entries, fresh, is_there, open_place, place_of, remove_file, remove_tree, shown
from pairmill.sharding.pair import IMAGE_COLUMNS
from pairmill.sharding.publish import publish_bytes, remove_temporaries
from pairmill.sharding.shard_groups import check_column
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.count_step import COUNT_COLUMNS
from pairmill.transforms.duplicate_columns import GROUP_COLUMNS
from pairmill.transforms.fetch.img2dataset_engine import HOW_TO_INSTALL
from pairmill.transforms.job import Job
from pairmill.transforms.known.in_build_rule import InBuild
from pairmill.transforms.language import language_model_sha256
from pairmill.transforms.mixture.concept_rule import ConceptRule
from pairmill.transforms.pool.plan import Segment, plan_segments, pool_identity
from pairmill.transforms.select_step import pool_rules
from pairmill.transforms.selection.settings import made_selections
from pairmill.transforms.spool import remove_orphans
from pairmill.transforms.spool_drop import SpoolPolicy, apply_policy

#: Raised when a step's meaning changes: its artefacts are then measured anew.
STEP_VERSIONS = {"pool": 1, "language": 1, "fetch": 1, "score": 1, "words": 1, "evaluation": 1, "counts": 1}


def prepare(
    recipe: Recipe, build: Path, work: Path, lanes: int, fetchers: int | None = None, least_free_bytes: int = 0
) -> Prepared:
    """Look at everything that can be wrong before work begins. Raises UsageError; nothing is written.

    ``fetchers`` is how many lanes may run at once (default: all). ``least_free_bytes``: what the run leaves free on its
    disks; with less it stops, and goes on when there is more.
    """
    try:
        segments = plan_segments(recipe.pool)
    except ValueError as error:
        raise UsageError(f"pool.path: {error}") from error
    language = recipe.language
    if any(column.name == "lang" for segment in segments[:1] for column in segment.columns):
        language = None  # the pool says it already
    _check_engine(recipe)
    pool = pool_identity(recipe.pool, segments)
    run = uuid.uuid4().hex[:12]
    try:
        model = language_model_sha256(language) if language is not None else ""
    except ValueError as error:
        raise UsageError(f"language.model: {error}") from error

    def store(step: str, what: object) -> StepStore:
        return StepStore(place_of(work), step, _fingerprint(step, pool, what), run)

    def outside_store(step: str, what: object) -> StepStore:
        return StepStore(place_of(work), step, _fingerprint(step, "", what), run)

    pool_columns = {column.name for segment in segments[:1] for column in segment.columns}
    measured = {*IMAGE_COLUMNS, "caption", "url", "path", "uid"}
    measured |= {"lang", "lang_confidence"} if language is not None else set()
    counts = _asked_counts(recipe, pool_columns)
    measured |= set(counts)
    scorers = prepare_scorers(recipe, pool_columns, measured, store, _fetch_identity(recipe))
    known = pool_columns | measured | scorers.columns()
    _check_survivor(recipe, known, segments[:1])
    _check_semantic(recipe, segments[:1], [name for run in scorers.runs for name in run.embedding_columns()])
    words = prepare_words(recipe, known, scorers, store, _fetch_identity(recipe))
    known |= words.columns()
    check_choice(recipe, words, known)
    _check_rules(recipe, known)
    if recipe.duplicates.compares:
        known |= set(GROUP_COLUMNS)  # behind the rules
    _check_selections(recipe, known, segments[:1], scorers.columns() | words.columns() | set(GROUP_COLUMNS) & known)
    rules, text_rules, word_rules = split_rules(recipe, words, scorers)
    _check_mixture(recipe, known, segments[:1])
    _check_shards(recipe, known, segments[:1])
    evaluation = prepare_evaluation(recipe, scorers.runs, outside_store)
    against = prepare_against(recipe, build)
    job = Job(
        build=place_of(build),
        run=run,
        lanes=lanes,
        seed=recipe.seed,
        pool=recipe.pool,
        pool_store=store("pool", None),
        segment_store=store("segments", None),
        language=language,
        language_store=store("language", model),
        counts=counts,
        count_store=store("counts", None),
        fetch=recipe.fetch,
        image=recipe.image,
        fetch_store=store("fetch", _fetch_identity(recipe)),
        rules=(
            tombstone_rules(work)
            + ((InBuild(),) if against else ())
            + rules
            + pool_rules(made_selections(recipe.select))
            + _concept_rules(recipe)
        ),
        decontamination=recipe.decontamination,
        evaluation=evaluation,
        against=against,
        all_reasons=recipe.all_reasons,
        duplicates=recipe.duplicates,
        scorers=scorers.runs,
        embedders=scorers.embedders,
        inference=recipe.inference,
        embeddings=recipe.embeddings,
        selections=made_selections(recipe.select),
        words=words.runs,
        word_scores=words.scores,
        word_rules=word_rules,
        text_rules=text_rules,
        recycle=recipe.recycle,
        text_choice=recipe.text,
        text_language=recipe.language,
        first_worded_selection=first_worded_selection(recipe, words.columns()),
        mixture=recipe.mixture,
        splits=recipe.splits,
        shards=recipe.shards,
        fetchers=fetchers or lanes,
        least_free_bytes=least_free_bytes,
    )
    return Prepared(job, recipe, segments, scorers, words)


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


def _asked_counts(recipe: Recipe, pool_columns: Collection[str]) -> tuple[str, ...]:
    """The counts over the pool that the recipe's rules and selections need and the pool does not bring."""
    asked = {column for rule in recipe.all_rules() for column in rule.columns()}
    asked |= {name for selection in recipe.select for name in (selection.column, selection.by) if name}
    asked |= {recipe.duplicates.survivor_column or ""}
    return tuple(name for name in COUNT_COLUMNS if name in asked and name not in pool_columns)


def _check_rules(recipe: Recipe, known: Collection[str]) -> None:
    for rule in recipe.all_rules():
        for column in needed_columns([rule]):
            if column not in known:
                raise UsageError(
                    f"rules: {rule.name} needs the column {column!r}, which neither the pool nor a step has; "
                    f"there are: {', '.join(sorted(known))}"
                )


def _check_selections(recipe: Recipe, known: Collection[str], segments: list[Segment], scored: Collection[str]) -> None:
    """A selection needs numbers, and one over the whole pool a column that every row of the pool has."""
    types = {column.name: column.dtype for segment in segments for column in segment.columns}
    if recipe.language is not None:
        types.setdefault("lang", pl.String())
        types.setdefault("lang_confidence", pl.Float32())
    types |= {name: dtype for name, dtype in COUNT_COLUMNS.items() if name not in types}
    for number, selection in enumerate(recipe.select):
        where = f"select[{number}]"
        for key, column in (("column", selection.column), ("by", selection.by)):
            if column is None:
                continue
            if column not in known:
                listed = ", ".join(sorted(known))
                raise UsageError(f"{where}.{key}: neither the pool nor a step has the column {column!r}: {listed}")
            if selection.of == "pool" and (column not in types or column in scored):
                raise UsageError(
                    f"{where}.{key}: {column!r} is not known of every row of the pool; select of: alive, or by a "
                    "column that the pool brings"
                )
        dtype = types.get(selection.column)
        if selection.column not in scored and dtype is not None and not (dtype.is_numeric() or dtype == pl.Boolean):
            raise UsageError(f"{where}.column: {selection.column!r} is of type {dtype}; a selection needs numbers")


def _check_survivor(recipe: Recipe, known: Collection[str], segments: list[Segment]) -> None:
    """The column that the survivor of duplicates goes by must be there, and hold numbers or dates."""
    policy, column = recipe.duplicates.survivor, recipe.duplicates.survivor_column
    if column is None:
        return
    if column not in known:
        raise UsageError(
            f"duplicates.survivor_column: neither the pool nor a step has the column {column!r}: "
            f"{', '.join(sorted(known))}"
        )
    for dtype in (found.dtype for segment in segments for found in segment.columns if found.name == column):
        numbers = dtype.is_numeric() or dtype == pl.Boolean
        dates = dtype in (pl.Date, pl.String) or isinstance(dtype, pl.Datetime)
        if not (numbers or (policy == "oldest" and dates)):
            wanted = "dates, numbers or text in ISO 8601" if policy == "oldest" else "numbers"
            raise UsageError(f"duplicates.survivor_column: {column!r} is of type {dtype}; {policy} goes by {wanted}")


def _concept_rules(recipe: Recipe) -> tuple[Rule, ...]:
    """The balance by concepts, where it is over the whole pool."""
    concepts = recipe.mixture.concepts if recipe.mixture is not None else None
    return (ConceptRule(),) if concepts is not None and concepts.of == "pool" else ()


def _check_mixture(recipe: Recipe, known: Collection[str], segments: list[Segment]) -> None:
    """A mixture reads columns that there are, numbers where need be; concepts of a pool lie in text that it brings."""
    if recipe.mixture is None:
        return
    of_pool = {column.name: column.dtype for segment in segments for column in segment.columns}
    for column in recipe.mixture.columns():
        if column not in known:
            listed = ", ".join(sorted(known))
            raise UsageError(f"mixture: neither the pool nor a step has the column {column!r}; there are: {listed}")
    for number, weighing in enumerate(recipe.mixture.weigh):
        dtype = of_pool.get(weighing.column or "")
        if dtype is not None and not (weighing.values or dtype.is_numeric() or dtype == pl.Boolean):
            told = f"{weighing.column!r} is of type {dtype}; weigh it by values, or a number"
            raise UsageError(f"mixture.weigh[{number}].column: {told}")
    concepts = recipe.mixture.concepts
    if concepts is not None and concepts.of == "pool" and concepts.column not in {*of_pool, "caption"}:
        raise UsageError(
            f"mixture.concepts.column: {concepts.column!r} is not known of every row of the pool; count of: alive"
        )


def _check_shards(recipe: Recipe, known: Collection[str], segments: list[Segment]) -> None:
    """Shard groups go by a column that there is, of a type that makes groups; DataComp's layout knows no splits."""
    if recipe.shards.layout == "datacomp" and recipe.splits:
        raise UsageError("shards.layout: datacomp has one row of shards, and so no splits; leave splits out")
    groups = recipe.shards.groups
    if groups is None:
        return
    if groups.by not in known:
        listed = ", ".join(sorted(known))
        raise UsageError(f"shards.groups.by: neither the pool nor a step has the column {groups.by!r}: {listed}")
    types = {column.name: column.dtype for segment in segments for column in segment.columns}
    if groups.by in types and (wrong := check_column(groups, types[groups.by])) is not None:
        raise UsageError(f"shards.groups.by: {groups.by!r} {wrong}")


def _check_semantic(recipe: Recipe, segments: list[Segment], embeddings: list[str]) -> None:
    """The embeddings that duplicates go by must be kept by a scorer, or be a column of lists in the pool."""
    if recipe.duplicates.semantic == "off":
        return
    column = recipe.duplicates.semantic_match.column
    texts = [found.name for segment in segments for found in segment.columns if found.dtype == pl.String]
    if column not in embeddings and column not in texts:
        listed = ", ".join(embeddings) or "none: a scorer of the kind clip keeps them with embeddings: [image]"
        raise UsageError(
            f"duplicates.semantic_match.column: {column!r} is no column of embeddings of a scorer ({listed}), and no "
            "column of the pool with lists of numbers"
        )


def _check_engine(recipe: Recipe) -> None:
    """A look for the package alone: it takes seconds to import."""
    if recipe.fetch.engine == "img2dataset" and find_spec("img2dataset") is None:
        raise UsageError(HOW_TO_INSTALL.format(error="there is no package of that name"))


def begin_build(build: Path, prepared: Prepared) -> str:
    """Take a new build folder for this recipe, or make sure that an old one is of it; returns the fingerprint."""
    removed = tombstone_digests(prepared.job.rules)
    decides = [prepared.recipe_fingerprint(), *removed]
    fingerprint = _fingerprint("build", prepared.job.pool_store.fingerprint, decides if removed else decides[0])
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
    return WorkIdentity(pool, Path(prepared.recipe.pool.path).name, _fetch_identity(prepared.recipe))


def _fetch_identity(recipe: Recipe) -> dict[str, object]:
    fetch = {f"fetch.{name}": value for name, value in asdict(recipe.fetch).items() if name not in OPERATIONAL}
    image = {f"image.{name}": value for name, value in asdict(recipe.image).items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in (fetch | image).items()}


def _fingerprint(step: str, pool: str, what: object) -> str:
    told = json.dumps([step, STEP_VERSIONS.get(step, 1), pool, what], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


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
