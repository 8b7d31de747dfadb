"""The scorers of a recipe, looked at before any work: which run, what decides their numbers, where these are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pairmill.filters.score import MeasuredBy, check_models
from pairmill.pipeline.recipe import Recipe
from pairmill.pipeline.recipe_scorers import REMEASURE, RecipeScorer
from pairmill.sharding.errors import UsageError
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.score.device import resolve_device
from pairmill.transforms.score.score_models import measured_columns
from pairmill.transforms.score.scorer import Scorer, check_scorers, column_name, scorer_identity
from pairmill.transforms.score_run import NEUTRAL, ScorerRun

#: Measures that tell how a score was made: a pool that brings the score need not bring them.
_BESIDE = ("outcome", "tokens_cut")


@dataclass(frozen=True)
class ReadyScorers:
    """``runs``: those that run. ``embedders``: what heads among them read, by name.

    ``from_pool``: those that do not run, since the pool has their columns (these are named).
    """

    runs: tuple[ScorerRun, ...] = ()
    embedders: Mapping[str, Scorer] = field(default_factory=dict)
    from_pool: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def identities(self) -> dict[str, Mapping[str, Any]]:
        """What decides the numbers of each scorer that runs, by name."""
        return {run.name: run.identity for run in self.runs}

    def columns(self) -> set[str]:
        """Every column that a run writes."""
        return {name for run in self.runs for name in run.columns()}


def prepare_scorers(
    recipe: Recipe,
    pool_columns: Collection[str],
    other_columns: Collection[str],
    store: Callable[[str, object], StepStore],
    fetch: object,
) -> ReadyScorers:
    """Look at all that can be wrong with the scorers of a recipe, and load none of them.

    ``pool_columns``: what the pool brings; ``other_columns``: what other steps write; ``store`` makes the store of a
    step from its name and what decides its numbers; ``fetch``: what an image becomes. Raises UsageError, one line that
    begins with the key.
    """
    known = {item.name: item.scorer for item in recipe.scorers}
    from_pool = {item.name: there for item in recipe.scorers if (there := _brought(item, pool_columns))}
    running = [item for item in recipe.scorers if item.name not in from_pool]
    _check_columns(running, pool_columns, other_columns)
    embedders = {told: known[told] for item in running if (told := item.scorer.embedder) is not None and told in known}
    needed = embedders | {item.name: item.scorer for item in running}
    precision = recipe.inference.precision
    identities = {}
    for name in needed:
        try:
            identities[name] = scorer_identity(needed, name, precision)
        except (KeyError, ValueError) as error:
            raise UsageError(f"scorers.{name}: {error}") from error
    try:
        check_scorers(needed)
        if running and (recipe.inference.device.startswith("cuda") or recipe.inference.precision == "fp16"):
            resolve_device(recipe.inference)  # takes seconds: torch is imported to ask
    except ValueError as error:
        raise UsageError(str(error)) from error
    runs: list[ScorerRun] = []
    for item in running:
        what: dict[str, object] = {"scorer": identities[item.name], "columns": list(item.scorer.columns(NEUTRAL))}
        if item.scorer.reads == "image":
            what["fetch"] = fetch
        run = ScorerRun(item.name, item.scorer, store("score", what), identities[item.name])
        for other in runs:
            if other.store.name == run.store.name:
                raise UsageError(f"scorers.{run.name}: it measures what scorers.{other.name} measures; leave one out")
        runs.append(run)
    try:
        check_models(recipe.all_rules(), measured_by(runs))
    except ValueError as error:
        raise UsageError(f"rules: {str(error).removeprefix('rule ')}") from error
    return ReadyScorers(tuple(runs), embedders, from_pool)


def measured_by(runs: Collection[ScorerRun]) -> dict[str, MeasuredBy]:
    """What a rule may call the model of each score, for ``check_models``."""
    return {column: by for run in runs for column, by in measured_columns(run.name, run.scorer, run.identity).items()}


def _brought(item: RecipeScorer, pool_columns: Collection[str]) -> tuple[str, ...]:
    """What the pool has of a scorer's columns: nothing, or all its scores; raises UsageError for a part of them."""
    if item.remeasure:
        return ()
    beside = tuple(column_name(item.name, measure) for measure in _BESIDE)
    told = [name for name in item.scorer.columns(item.name) if not name.startswith(beside)]
    there = [name for name in told if name in pool_columns]
    if there and len(there) < len(told):
        lacking = next(name for name in told if name not in there)
        raise UsageError(
            f"scorers.{item.name}: the pool has {there[0]} but not {lacking}; leave out what the pool has under "
            f"another name for the scorer, or set scorers.{item.name}.{REMEASURE}: true to measure both"
        )
    return tuple(name for name in item.scorer.columns(item.name) if name in pool_columns) if there else ()


def _check_columns(
    running: Collection[RecipeScorer], pool_columns: Collection[str], other_columns: Collection[str]
) -> None:
    for item in running:
        path = f"scorers.{item.name}"
        for name in item.scorer.columns(item.name):
            if name in other_columns:
                raise UsageError(f"{path}: it would write the column {name!r}, which pairmill has already; rename it")
        for name in item.scorer.text_columns():
            if name not in pool_columns and name != "caption":
                raise UsageError(
                    f"{path}: it reads the text column {name!r}, which the pool does not have; "
                    f"there are: {', '.join(sorted({*pool_columns, 'caption'}))}"
                )
