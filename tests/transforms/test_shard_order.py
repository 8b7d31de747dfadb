"""The order of samples: fixed by the seed and what was kept, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.load_plan import Training
from pairmill.sharding.shard_plan import shard_sizes
from pairmill.transforms.shard_order import (
    ShardSettings,
    load_orders,
    order_split,
    save_orders,
    split_of,
)

kept = st.dictionaries(st.integers(0, 2**46 - 1), st.integers(0, 500), max_size=60)
settings_of_shards = st.builds(
    ShardSettings,
    count=st.none() | st.integers(1, 50),
    samples_per_shard=st.none() | st.integers(1, 200),
    target_bytes=st.integers(1, 1 << 24),
    multiple_of=st.integers(1, 8),
    order=st.integers(1, 20).map("blocks:{}".format),
)


def ordered(found: dict[int, int], settings: ShardSettings, seed: int = 0, split: str = "train"):  # type: ignore[no-untyped-def]
    blocks = np.array(list(found), dtype=np.int64)
    counts = np.array(list(found.values()), dtype=np.int64).reshape(-1, 1)
    return order_split(split, blocks, counts, int(counts.sum()) * 1000, settings, seed)


@given(kept, settings_of_shards, st.integers(0, 3))
def test_every_kept_row_has_its_place_in_a_group(found: dict[int, int], settings: ShardSettings, seed: int) -> None:
    order = ordered(found, settings, seed)
    starts = order.group_starts()
    assert not order.laps.any()
    groups = [order.group(number)[1] for number in range(len(starts))]
    assert sorted(block for group in groups for block in group) == sorted(b for b, count in found.items() if count)
    assert all(0 < len(group) <= settings.group_blocks for group in groups)
    sizes = [sum(found[block] for block in group) for group in groups]
    assert starts.tolist() == [sum(sizes[:number]) for number in range(len(sizes))]
    assert order.samples == sum(found.values())


@given(kept, settings_of_shards)
def test_shards_are_equal_and_exact(found: dict[int, int], settings: ShardSettings) -> None:
    order = ordered(found, settings)
    assert (order.shards == 0) == (order.samples == 0)
    sizes = [stop - start for start, stop in shard_sizes(order.samples, order.shards)]
    assert sum(sizes) == order.samples
    assert not sizes or max(sizes) - min(sizes) <= 1
    if settings.count is not None and order.samples:
        assert order.shards == min(settings.count, order.samples)
    elif settings.samples_per_shard is not None and order.samples and settings.multiple_of == 1:
        assert max(sizes) <= settings.samples_per_shard


@given(kept, settings_of_shards, st.randoms())
def test_the_order_does_not_depend_on_the_order_of_arrival(
    found: dict[int, int], settings: ShardSettings, random: object
) -> None:
    mixed = list(found.items())
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = ordered(found, settings), ordered(dict(mixed), settings)
    assert one.blocks.tolist() == other.blocks.tolist()
    assert one.counts.tolist() == other.counts.tolist()
    assert one.shards == other.shards


@given(kept, settings_of_shards, st.integers(2, 5), st.integers(0, 3))
def test_laps_go_over_the_blocks_in_one_order(
    found: dict[int, int], settings: ShardSettings, laps: int, seed: int
) -> None:
    blocks = np.array(list(found), dtype=np.int64)
    counts = np.array([[(count + lap) // laps for lap in range(laps)] for count in found.values()], dtype=np.int64)
    counts = counts.reshape(-1, laps)
    order = order_split("train", blocks, counts, 1000, settings, seed)
    assert order.samples == sum(found.values())
    groups = [order.group(number) for number in range(len(order.group_starts()))]
    walked = [(lap, block) for lap, of_group in groups for block in of_group]
    assert walked == list(zip(order.laps.tolist(), order.blocks.tolist(), strict=True))
    one_lap = ordered(dict.fromkeys(found, 1), settings, seed).blocks.tolist()
    for lap in range(laps):
        there = {block for block, count in zip(blocks.tolist(), counts[:, lap].tolist(), strict=True) if count}
        assert [block for of, block in walked if of == lap] == [block for block in one_lap if block in there]


def test_seeds_and_splits_have_orders_of_their_own() -> None:
    found = dict.fromkeys(range(100), 3)
    orders = [
        tuple(ordered(found, ShardSettings(), seed, split).blocks)
        for seed, split in ((0, "train"), (1, "train"), (0, "val"))
    ]
    assert len(set(orders)) == 3
    assert all(sorted(order) == list(range(100)) for order in orders)


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=50),
    st.lists(st.floats(0.001, 0.3), max_size=3).map(lambda s: tuple((f"s{i}", x) for i, x in enumerate(s))),
    st.integers(0, 5),
)
def test_a_group_has_one_split_wherever_its_rows_lie(
    groups: list[int], splits: tuple[tuple[str, float], ...], seed: int
) -> None:
    array = np.array(groups, dtype=np.uint64)
    found = split_of(array, splits, seed)
    assert found.min(initial=0) >= 0
    assert found.max(initial=0) <= len(splits)
    for group, split in zip(groups, found.tolist(), strict=True):
        assert split_of(np.array([group], dtype=np.uint64), splits, seed).tolist() == [split]


def test_splits_have_about_their_shares() -> None:
    groups = np.arange(200_000, dtype=np.uint64)
    splits = (("val", 0.005), ("test", 0.1))
    counts = np.bincount(split_of(groups, splits, seed=3), minlength=3) / len(groups)
    # Five standard deviations of a binomial share.
    assert abs(counts[0] - 0.005) < 5 * (0.005 * 0.995 / len(groups)) ** 0.5
    assert abs(counts[1] - 0.1) < 5 * (0.1 * 0.9 / len(groups)) ** 0.5


def test_without_splits_all_is_train() -> None:
    assert split_of(np.arange(5, dtype=np.uint64), (), 0).tolist() == [0] * 5


@given(st.lists(kept, min_size=1, max_size=3), settings_of_shards)
def test_saved_orders_are_the_same_orders(
    tmp_path_factory: pytest.TempPathFactory, founds: list[dict[int, int]], settings: ShardSettings
) -> None:
    path: Path = tmp_path_factory.mktemp("orders") / "orders.npz"
    names = ["train", "val", "test"][: len(founds)]
    orders = [ordered(found, settings, 0, name) for found, name in zip(founds, names, strict=True)]
    save_orders(path, orders)
    loaded = load_orders(path)
    assert list(loaded) == names
    for order in orders:
        found = loaded[order.split]
        assert found.blocks.tolist() == order.blocks.tolist()
        assert found.counts.tolist() == order.counts.tolist()
        assert found.laps.tolist() == order.laps.tolist()
        assert found.chosen == order.chosen
        assert (found.shards, found.group_blocks, found.samples) == (order.shards, order.group_blocks, order.samples)


@pytest.mark.parametrize("given", [{"count": 3}, {"samples_per_shard": 5}, {"target_bytes": 10}, {"multiple_of": 2}])
def test_two_that_decide_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"and so does {next(iter(given))}; leave one of them out"):
        ShardSettings(auto=Training(), **given)


@given(kept, st.integers(1, 3), st.integers(1, 8), st.integers(1, 4))
def test_auto_gives_every_reader_as_many_shards(found: dict[int, int], nodes: int, gpus: int, workers: int) -> None:
    order = ordered(found, ShardSettings(auto=Training(nodes, gpus, workers)))
    readers = nodes * gpus * workers
    assert order.shards == (readers if order.samples >= readers else order.samples)
    assert (order.chosen.because == f"a shard for each of {readers} loader workers") == (order.samples >= readers)


@pytest.mark.parametrize("name", ["count", "samples_per_shard", "target_bytes", "multiple_of", "random_read_bytes"])
def test_a_setting_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        ShardSettings(**{name: 0})
