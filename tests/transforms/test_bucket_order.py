"""A full random order in buckets: how many there are changes nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pairmill.transforms import bucket_order
from pairmill.transforms.bucket_order import bucket_of, first_buckets, lay_buckets, wanted_buckets
from pairmill.transforms.sample_rows import pieces
from pairmill.transforms.shard_order import ShardSettings, SplitOrder, order_split

keys_of_samples = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200)


@given(keys_of_samples, st.integers(1, 5000))
def test_buckets_are_runs_of_the_sorted_keys(found: list[int], buckets: int) -> None:
    keys = np.sort(np.array(found, dtype=np.uint64))
    numbers = bucket_of(keys, buckets)
    assert (np.diff(numbers) >= 0).all()
    assert numbers.min() >= 0
    assert numbers.max() < buckets
    assert bucket_of(np.array([0, 2**64 - 1], dtype=np.uint64), buckets).tolist() == [0, buckets - 1]


@given(
    st.lists(st.integers(0, 300_000), min_size=1, max_size=4),
    st.integers(1, 10**6),
    st.integers(1, 1 << 40),
)
def test_buckets_hold_every_sample_and_not_too_many(laps: list[int], mean: int, random_read_bytes: int) -> None:
    samples = np.array(laps, dtype=np.int64)
    blocks, counts, numbers_of_laps = lay_buckets(samples, mean * int(samples.sum()), random_read_bytes)
    assert np.bincount(numbers_of_laps, counts, minlength=len(laps)).tolist() == laps
    most = counts.max(initial=0)
    assert most <= bucket_order.ROWS_PER_BUCKET
    assert most <= max(bucket_order.LEAST_ROWS_PER_BUCKET, random_read_bytes // bucket_order.BUCKET_SHARE // mean)
    for lap in range(len(laps)):
        numbers = blocks[numbers_of_laps == lap]
        assert numbers.tolist() == list(range(len(numbers)))


def of_counts(split: str, counts: list[int], settings: ShardSettings) -> SplitOrder:
    blocks = np.arange(len(counts), dtype=np.int64)
    laps = np.zeros(len(counts), dtype=np.int64)
    plain = order_split(split, blocks, np.array(counts, dtype=np.int64).reshape(-1, 1), 1000, settings, 0)
    return SplitOrder(split, blocks, np.array(counts, dtype=np.int64), laps, plain.chosen, settings.group_blocks)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 9))
def test_shards_take_every_sample_of_every_bucket_once(counts: list[int], shards: int) -> None:
    order = of_counts("train", counts, ShardSettings(count=shards, order="global"))
    seen = []
    bounds = [order.samples * i // order.shards for i in range(order.shards + 1)] if order.shards else []
    for start, stop in pairwise(bounds):
        for bucket, first, last in pieces(order, start, stop):
            assert 0 <= first < last <= counts[bucket]
            seen += [(bucket, place) for place in range(first, last)]
    assert seen == [(bucket, place) for bucket, count in enumerate(counts) for place in range(count)]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 2**9 - 1))
def test_a_bucket_is_wanted_while_a_shard_of_it_is(counts: list[int], shards: int, bits: int) -> None:
    order = of_counts("train", counts, ShardSettings(count=shards, order="global"))
    finished = np.array([bool(bits >> number & 1) for number in range(order.shards)], dtype=np.bool_)
    wanted = [False] * len(counts)
    for number in range(order.shards):
        start, stop = (order.samples * i // order.shards for i in (number, number + 1))
        for bucket, _, _ in pieces(order, start, stop):
            wanted[bucket] |= not finished[number]
    assert wanted_buckets(order, finished).tolist() == wanted


def test_buckets_of_all_splits_are_numbered_through() -> None:
    settings = ShardSettings(order="global")
    orders = [of_counts("val", [1, 2], settings), of_counts("test", [], settings), of_counts("train", [3], settings)]
    assert first_buckets(orders) == {"val": 0, "test": 2, "train": 2}
