from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pairmill.sharding.shard_scan import ShardScan
from pairmill.sharding.statistics import BINS, dataset_statistics, distribution, split_of
from pairmill.sharding.stats_table import print_statistics, text_histogram


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_distribution_against_numpy(values: list[int]) -> None:
    spread = distribution(np.array(values))
    assert spread is not None
    assert (spread.min, spread.max, spread.count) == (min(values), max(values), len(values))
    assert spread.mean == pytest.approx(np.mean(values))
    for percent, found in ((5, spread.p5), (50, spread.p50), (95, spread.p95)):
        assert found == np.percentile(values, percent, method="inverted_cdf")
        assert found in values
    assert sum(spread.bins) == len(values)
    assert len(spread.edges) == len(spread.bins) + 1
    assert list(spread.edges) == sorted(spread.edges)
    drawn = text_histogram(spread)
    assert len(drawn) == len(spread.bins)
    assert [c == " " for c in drawn] == [count == 0 for count in spread.bins]
    json.dumps(spread.to_dict(), allow_nan=False)


def test_distribution_of_nothing_and_of_one_value() -> None:
    assert distribution(np.array([])) is None
    spread = distribution([5, 5])
    assert spread is not None
    assert (spread.edges, spread.bins) == ((5.0, 5.0), (2,))


def test_long_tails_get_geometric_bins() -> None:
    straight, tail = distribution(np.arange(1, 101)), distribution([1, 2, 3, 1000])
    assert straight is not None
    assert tail is not None
    assert len(tail.bins) == len(straight.bins) == BINS
    assert straight.edges[1] - straight.edges[0] == pytest.approx(straight.edges[-1] - straight.edges[-2])
    assert tail.edges[1] / tail.edges[0] == pytest.approx(tail.edges[-1] / tail.edges[-2])


def test_split_of_a_shard_name() -> None:
    assert split_of("train-00000-of-00008") == "train"
    assert split_of("val-123456-of-200000") == "val"
    assert split_of("00000") == split_of("train-1-of-2") == ""


def scan(file: str, samples: int, **more: object) -> ShardScan:
    found = ShardScan(file, bytes=samples * 1000, keys=[f"{file}{i}" for i in range(samples)])
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_totals() -> None:
    statistics = dataset_statistics(
        [scan("train-00000-of-00001.tar", 3), scan("val-00000-of-00001.tar", 1)], None, None
    )
    assert (statistics.shards, statistics.samples, statistics.bytes) == (2, 4, 4000)
    assert statistics.samples_per_shard == (1, 3)
    assert statistics.splits == {
        "train": {"shards": 1, "samples": 3, "bytes": 3000},
        "val": {"shards": 1, "samples": 1, "bytes": 1000},
    }
    assert (statistics.distributions, statistics.languages, statistics.members) == ({}, {}, {})
    assert statistics.source == "tars"


def test_tables_show_markup_and_escapes_as_text() -> None:
    statistics = dataset_statistics([scan("a.tar", 2)], {"width": [1, 2]}, {"[red]en": 1, "\x1b[31m": 1, "": 3})
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_statistics(statistics, console)
    text = console.export_text()
    assert "[red]en" in text
    assert "\\x1b[31m" in text
    assert "(unknown)" in text
    assert "from metadata" in text
