"""What a mixture made of a build: wanted and realised ratios of groups, and how far each concept is covered."""

from __future__ import annotations

from typing import Any

import polars as pl

from pairmill.sharding.column_files import attempt_path, replace_file
from pairmill.sharding.mirror import open_place
from pairmill.transforms.concept_draws import cap_of, concept_table
from pairmill.transforms.job import Job
from pairmill.transforms.mixture_count import group_table

#: So many groups and concepts, the largest, are listed in a report; the tables beside it have all.
LISTED = 50
_SHOWN = 10


def write_mixture_tables(job: Job) -> dict[str, Any]:
    """Write ``mixture.parquet`` and, with concepts, ``concepts.parquet`` beside the report, and return its part.

    ``rows_in`` stood for the mixture, ``rows`` are written, as ``samples``; ``wanted``: of the recipe, None where none.
    ``groups``: the largest, each with the same numbers, what it would get without bounds (``wanted``), and both as
    shares. ``concepts``: see ``_coverage``.
    """
    mixture = job.mixture
    assert mixture is not None
    groups = group_table(job)
    _write(job, "mixture", groups)
    told: dict[str, Any] = {name: int(groups.get_column(name).sum()) for name in ("rows_in", "rows", "samples")}
    told |= {"wanted": mixture.samples, "by": mixture.by, "groups_in_all": groups.height, "groups": []}
    if mixture.by is not None:
        told["groups"] = [_group(row, groups) for row in groups.head(LISTED).iter_rows(named=True)]
    if mixture.concepts is not None:
        concepts = concept_table(job)
        _write(job, "concepts", concepts)
        told["concepts"] = _coverage(concepts, cap_of(job))
    return told


def mixture_lines(report: dict[str, Any]) -> list[str]:
    """The same for people: a line for the whole, one for each of the largest groups, one for concepts."""
    told = report.get("mixture")
    if not told:
        return []
    wanted = "" if told["wanted"] is None else f", {told['wanted']:,} were asked for"
    lines = [f"mixture: {told['samples']:,} samples of {told['rows']:,} rows{wanted}"]
    for group in told["groups"][:_SHOWN]:
        name = "(no value)" if group["group"] is None else group["group"]
        lines.append(
            f"  {told['by']} {name}: {group['samples']:,} samples of {group['rows']:,} rows "
            f"({group['share']:.1%}, wanted {group['wanted_share']:.1%})"
        )
    if told["by"] is not None and told["groups_in_all"] > _SHOWN:
        lines.append(f"  and {told['groups_in_all'] - _SHOWN:,} more in mixture.parquet")
    if "concepts" in told:
        concepts = told["concepts"]
        pairs, rows = concepts["pairs"], concepts["rows"]
        lines.append(
            f"concepts: {concepts['concepts'] - pairs['none']:,} of {concepts['concepts']:,} are there, "
            f"{pairs['at_cap']:,} reach the cap of {concepts['cap']:,}; {pairs['matches']:,} matches became "
            f"{rows['matches']:,}"
        )
    return lines


def _group(row: dict[str, Any], groups: pl.DataFrame) -> dict[str, Any]:
    wanted, samples = (float(groups.get_column(name).sum()) for name in ("wanted", "samples"))
    return {
        **row,
        "wanted": round(row["wanted"], 3),
        "wanted_share": round(row["wanted"] / wanted, 6) if wanted else 0.0,
        "share": round(row["samples"] / samples, 6) if samples else 0.0,
    }


def _coverage(concepts: pl.DataFrame, cap: int) -> dict[str, Any]:
    """How many concepts have no pair, fewer than the cap, or as many and more: of pairs that stood for the balance, of
    the rows and samples that are written. ``matches``: how often concepts come in them; ``most_frequent``: a list.
    """
    found: dict[str, Any] = {"concepts": concepts.height, "cap": cap}
    for name in ("pairs", "rows", "samples"):
        count = concepts.get_column(name)
        found[name] = {
            "matches": int(count.sum()),
            "none": int((count == 0).sum()),
            "below_cap": int(((count > 0) & (count < cap)).sum()),
            "at_cap": int((count >= cap).sum()),
        }
    found["most_frequent"] = concepts.sort("pairs", "concept", descending=[True, False]).head(LISTED).to_dicts()
    return found


def _write(job: Job, name: str, table: pl.DataFrame) -> None:
    path = open_place(job.build) / f"{name}.parquet"
    attempt = attempt_path(path)
    table.write_parquet(attempt)
    replace_file(attempt, path)
