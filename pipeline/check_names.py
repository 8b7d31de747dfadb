"""What a recipe names must be there: columns of the pool, of steps, of rules."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec

import polars as pl

from pairmill.filters.verdict import needed_columns
from pairmill.pipeline.recipe import Recipe
from pairmill.sharding.errors import UsageError
from pairmill.sharding.shard_groups import check_column
from pairmill.transforms.count_step import COUNT_COLUMNS
from pairmill.transforms.fetch.img2dataset_engine import HOW_TO_INSTALL
from pairmill.transforms.pool.plan import Segment


def check_rules(recipe: Recipe, known: Collection[str]) -> None:
    """Raise UsageError for a rule on a column that nothing gives."""
    for rule in recipe.all_rules():
        for column in needed_columns([rule]):
            if column not in known:
                raise UsageError(
                    f"rules: {rule.name} needs the column {column!r}, which neither the pool nor a step has; "
                    f"there are: {', '.join(sorted(known))}"
                )


def check_selections(recipe: Recipe, known: Collection[str], segments: list[Segment], scored: Collection[str]) -> None:
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


def check_survivor(recipe: Recipe, known: Collection[str], segments: list[Segment]) -> None:
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


def check_mixture(recipe: Recipe, known: Collection[str], segments: list[Segment]) -> None:
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


def check_shards(recipe: Recipe, known: Collection[str], segments: list[Segment]) -> None:
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


def check_semantic(recipe: Recipe, segments: list[Segment], embeddings: list[str]) -> None:
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


def check_engine(recipe: Recipe) -> None:
    """A look for the package alone: it takes seconds to import."""
    if recipe.fetch.engine == "img2dataset" and find_spec("img2dataset") is None:
        raise UsageError(HOW_TO_INSTALL.format(error="there is no package of that name"))
