"""A build before it begins: everything that can be wrong is looked at, and all that steps need is put together."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from pairmill.filters.rule import Rule
from pairmill.pipeline.check_names import (
    check_engine,
    check_mixture,
    check_rules,
    check_selections,
    check_semantic,
    check_shards,
    check_survivor,
)
from pairmill.pipeline.prepare_against import prepare_against
from pairmill.pipeline.prepare_evaluation import prepare_evaluation
from pairmill.pipeline.prepare_scorers import prepare_scorers
from pairmill.pipeline.prepare_words import check_choice, first_worded_selection, prepare_words, split_rules
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.recipe import OPERATIONAL, Recipe
from pairmill.pipeline.tombstones import tombstone_rules
from pairmill.sharding.errors import UsageError
from pairmill.sharding.mirror import place_of
from pairmill.sharding.pair import IMAGE_COLUMNS
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.count_step import COUNT_COLUMNS
from pairmill.transforms.duplicate_columns import GROUP_COLUMNS
from pairmill.transforms.job import Job
from pairmill.transforms.known.in_build_rule import InBuild
from pairmill.transforms.language import LanguageSettings, language_model_sha256
from pairmill.transforms.mixture.concept_rule import ConceptRule
from pairmill.transforms.pool.plan import plan_segments, pool_identity
from pairmill.transforms.select_step import pool_rules
from pairmill.transforms.selection.settings import made_selections

#: Raised when a step's meaning changes: its artefacts are then measured anew.
STEP_VERSIONS = {"pool": 1, "language": 1, "fetch": 1, "score": 1, "words": 1, "evaluation": 1, "counts": 1}


@dataclass(frozen=True)
class _Stores:
    """Names the store of a step's columns: of this pool, or (``outside``) of whatever pool there is."""

    work: str
    pool: str
    run: str

    def __call__(self, step: str, what: object) -> StepStore:
        return StepStore(self.work, step, step_fingerprint(step, self.pool, what), self.run)

    def outside(self, step: str, what: object) -> StepStore:
        return StepStore(self.work, step, step_fingerprint(step, "", what), self.run)


def prepare(
    recipe: Recipe, build: Path, work: Path, lanes: int, fetchers: int | None = None, least_free_bytes: int | None = 0
) -> Prepared:
    """Look at everything that can be wrong before work begins. Raises UsageError; nothing is written.

    ``fetchers`` is how many lanes may run at once (default: all). ``least_free_bytes``: what the run leaves free on its
    disks (None: what suits each of them); with less it stops, and goes on when there is more.
    """
    try:
        segments = plan_segments(recipe.pool)
    except ValueError as error:
        raise UsageError(f"pool.path: {error}") from error
    first = segments[:1]
    pool_columns = {column.name for segment in first for column in segment.columns}
    language = recipe.language if "lang" not in pool_columns else None  # else the pool says it already
    check_engine(recipe)
    store = _Stores(place_of(work), pool_identity(recipe.pool, segments), uuid.uuid4().hex[:12])
    measured = {*IMAGE_COLUMNS, "caption", "url", "path", "uid"}
    measured |= {"lang", "lang_confidence"} if language is not None else set()
    counts = _asked_counts(recipe, pool_columns)
    measured |= set(counts)
    scorers = prepare_scorers(recipe, pool_columns, measured, store, fetch_identity(recipe))
    known = pool_columns | measured | scorers.columns()
    check_survivor(recipe, known, first)
    check_semantic(recipe, first, [name for run in scorers.runs for name in run.embedding_columns()])
    words = prepare_words(recipe, known, scorers, store, fetch_identity(recipe))
    known |= words.columns()
    check_choice(recipe, words, known)
    check_rules(recipe, known)
    if recipe.duplicates.compares:
        known |= set(GROUP_COLUMNS)  # behind the rules
    check_selections(recipe, known, first, scorers.columns() | words.columns() | set(GROUP_COLUMNS) & known)
    rules, text_rules, word_rules = split_rules(recipe, words, scorers)
    check_mixture(recipe, known, first)
    check_shards(recipe, known, first)
    against = prepare_against(recipe, build)
    job = Job(
        build=place_of(build),
        run=store.run,
        lanes=lanes,
        seed=recipe.seed,
        pool=recipe.pool,
        pool_store=store("pool", None),
        segment_store=store("segments", None),
        language=language,
        language_store=store("language", _language_model(language)),
        counts=counts,
        count_store=store("counts", None),
        fetch=recipe.fetch,
        image=recipe.image,
        fetch_store=store("fetch", fetch_identity(recipe)),
        rules=(
            tombstone_rules(work)
            + ((InBuild(),) if against else ())
            + rules
            + pool_rules(made_selections(recipe.select))
            + _concept_rules(recipe)
        ),
        decontamination=recipe.decontamination,
        evaluation=prepare_evaluation(recipe, scorers.runs, store.outside),
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


def _language_model(language: LanguageSettings | None) -> str:
    """The digest of the model that identifies languages; nothing where the pool says them."""
    try:
        return language_model_sha256(language) if language is not None else ""
    except ValueError as error:
        raise UsageError(f"language.model: {error}") from error


def _asked_counts(recipe: Recipe, pool_columns: Collection[str]) -> tuple[str, ...]:
    """The counts over the pool that the recipe's rules and selections need and the pool does not bring."""
    asked = {column for rule in recipe.all_rules() for column in rule.columns()}
    asked |= {name for selection in recipe.select for name in (selection.column, selection.by) if name}
    asked |= {recipe.duplicates.survivor_column or ""}
    return tuple(name for name in COUNT_COLUMNS if name in asked and name not in pool_columns)


def _concept_rules(recipe: Recipe) -> tuple[Rule, ...]:
    """The balance by concepts, where it is over the whole pool."""
    concepts = recipe.mixture.concepts if recipe.mixture is not None else None
    return (ConceptRule(),) if concepts is not None and concepts.of == "pool" else ()


def fetch_identity(recipe: Recipe) -> dict[str, object]:
    """The settings of fetch and images that decide what is stored, by recipe key."""
    fetch = {f"fetch.{name}": value for name, value in asdict(recipe.fetch).items() if name not in OPERATIONAL}
    image = {f"image.{name}": value for name, value in asdict(recipe.image).items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in (fetch | image).items()}


def step_fingerprint(step: str, pool: str, what: object) -> str:
    """What names the column folder of a step: the pool's identity, the step's version, and ``what`` it does."""
    told = json.dumps([step, STEP_VERSIONS.get(step, 1), pool, what], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
