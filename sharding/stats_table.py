"""The statistics as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pairmill.sharding.fault import printable
from pairmill.sharding.statistics import DatasetStatistics, Distribution

_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN = 12
_TITLES = {"caption_length": "caption length", "image_bytes": "image bytes"}


def print_statistics(statistics: DatasetStatistics, console: Console) -> None:
    """Print counts, distributions, languages, members and embeddings."""
    console.print(_counts(statistics))
    if statistics.distributions:
        console.print(_distributions(statistics.distributions, statistics.source))
    if statistics.languages:
        console.print(_frequencies("language", "samples", statistics.languages))
    if statistics.members:
        console.print(_frequencies("member", "files", statistics.members))
    if statistics.embeddings:
        console.print(_embeddings(statistics.embeddings))


def text_histogram(spread: Distribution) -> str:
    """One character a bin; the fullest bin is a full block, and only an empty bin is blank."""
    fullest = max(spread.bins)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // fullest)] for count in spread.bins)


def _counts(statistics: DatasetStatistics) -> Table:
    table = Table("split", box=None, pad_edge=False)
    for column in ("shards", "samples", "bytes"):
        table.add_column(column, justify="right")
    table.add_column("samples per shard", justify="right")
    for split, counts in statistics.splits.items():
        table.add_row(Text(printable(split)), *(f"{counts[name]:,}" for name in ("shards", "samples", "bytes")), "")
    fewest, most = statistics.samples_per_shard
    table.add_row(
        Text("all", style="bold"),
        f"{statistics.shards:,}",
        f"{statistics.samples:,}",
        f"{statistics.bytes:,}",
        f"{fewest:,} to {most:,}" if fewest != most else f"{fewest:,}",
    )
    return table


def _distributions(spreads: Mapping[str, Distribution], source: str) -> Table:
    table = Table(title=f"\nfrom {source}", title_justify="left", box=None, pad_edge=False)
    table.add_column("measure")
    for column in ("min", "p5", "p50", "p95", "max", "mean"):
        table.add_column(column, justify="right")
    table.add_column("histogram", no_wrap=True)
    for name, spread in spreads.items():
        form = "{:,.2f}" if name == "aspect" else "{:,.0f}"
        values = (spread.min, spread.p5, spread.p50, spread.p95, spread.max, spread.mean)
        table.add_row(_TITLES.get(name, name), *(form.format(value) for value in values), text_histogram(spread))
    return table


def _frequencies(title: str, unit: str, counts: Mapping[str, int]) -> Table:
    table = Table(title="", box=None, pad_edge=False)
    table.add_column(title)
    table.add_column(unit, justify="right")
    shown = list(counts.items())[:_SHOWN]
    for name, count in shown:
        table.add_row(Text(printable(name) or "(unknown)"), f"{count:,}")
    if len(counts) > len(shown):
        rest = sum(counts.values()) - sum(count for _, count in shown)
        table.add_row(f"({len(counts) - len(shown)} others)", f"{rest:,}")
    return table


def _embeddings(told: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="", box=None, pad_edge=False)
    for column in ("embeddings", "of", "encoding"):
        table.add_column(column)
    for column in ("dimensions", "samples", "missing"):
        table.add_column(column, justify="right")
    for one in told:
        counts = (f"{one[name]:,}" for name in ("dimensions", "samples", "missing"))
        table.add_row(Text(one["scorer"]), Text(one["kind"]), one["encoding"], *counts)
    return table
