"""Lanes: every block in exactly one, and no result depends on how many there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding import exchange
from pairmill.transforms import lanes as lanes_module
from pairmill.transforms.lanes import BLOCKS_PER_BATCH, ROWS_PER_BATCH, lay_lanes, load_lanes, save_lanes

blocks_of_a_pool = st.dictionaries(st.integers(0, 2**46 - 1), st.integers(0, 65536), max_size=40).map(
    lambda found: list(found.items())
)


many_small_blocks = st.lists(st.integers(0, 200), min_size=100, max_size=700).map(lambda rows: list(enumerate(rows)))


@given(blocks_of_a_pool | many_small_blocks, st.integers(1, 12), st.integers(1, 100_000))
def test_every_block_lies_in_exactly_one_lane(
    blocks: list[tuple[int, int]], lanes: int, rows_per_partition: int
) -> None:
    plan = lay_lanes(blocks, lanes, rows_per_partition)
    assert plan.lanes <= min(lanes, len(blocks))
    laid = [plan.lane(number) for number in range(plan.lanes)]
    assert all(laid)
    assert [block for lane in laid for batch in lane for block in batch] == sorted(block for block, _ in blocks)
    for number, lane in enumerate(laid):
        for place, batch in enumerate(lane):
            assert {plan.place_of(block) for block in batch} == {(number, place)}
            assert plan.lane_of(np.array(batch, dtype=np.uint64)).tolist() == [number] * len(batch)


@given(many_small_blocks, st.integers(1, 12), st.integers(1, 12))
def test_batches_gather_small_blocks_and_do_not_depend_on_lanes(
    blocks: list[tuple[int, int]], lanes: int, others: int
) -> None:
    plan = lay_lanes(blocks, lanes)
    rows = dict(blocks)
    batches = [plan.batch(number) for number in range(len(plan.batches))]
    assert [batch for lane in range(plan.lanes) for batch in plan.lane(lane)] == batches
    assert batches == [lay_lanes(blocks, others).batch(number) for number in range(len(plan.batches))]
    for batch in batches:
        assert len(batch) == 1 or sum(rows[block] for block in batch) <= ROWS_PER_BATCH
        assert len(batch) <= BLOCKS_PER_BATCH


@given(blocks_of_a_pool, st.integers(1, 12), st.integers(1, 100_000), st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_arrival(
    blocks: list[tuple[int, int]], lanes: int, rows_per_partition: int, random: object
) -> None:
    mixed = list(blocks)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = lay_lanes(blocks, lanes, rows_per_partition), lay_lanes(mixed, lanes, rows_per_partition)
    assert [one.lane(n) for n in range(one.lanes)] == [other.lane(n) for n in range(other.lanes)]
    assert one.partitions == other.partitions


@given(blocks_of_a_pool, st.integers(1, 12), st.integers(1, 100_000))
def test_partitions_bound_the_rows_and_give_every_worker_one(
    blocks: list[tuple[int, int]], lanes: int, rows_per_partition: int
) -> None:
    plan = lay_lanes(blocks, lanes, rows_per_partition)
    rows = sum(count for _, count in blocks)
    assert plan.partitions >= max(1, plan.lanes)
    assert plan.partitions * rows_per_partition >= rows


def test_lanes_hold_about_equally_many_rows() -> None:
    plan = lay_lanes([(block, 100) for block in range(100)], 4)
    assert [len(plan.lane(n)) for n in range(4)] == [25, 25, 25, 25]
    plan = lay_lanes([(block, 0) for block in range(100)], 4)  # empty blocks cost time too
    assert [len(plan.lane(n)) for n in range(4)] == [25, 25, 25, 25]


@given(blocks=blocks_of_a_pool, lanes=st.integers(1, 12))
def test_a_saved_plan_is_the_same_plan(tmp_path_factory: object, blocks: list[tuple[int, int]], lanes: int) -> None:
    path: Path = tmp_path_factory.mktemp("plan") / "run" / "lanes.npz"  # type: ignore[attr-defined]
    plan = lay_lanes(blocks, lanes)
    save_lanes(path, plan)
    found = load_lanes(path)
    assert found.partitions == plan.partitions
    for name in ("blocks", "rows", "batches", "starts"):
        assert np.array_equal(getattr(found, name), getattr(plan, name))
        assert getattr(found, name).dtype == np.int64
    assert [file.name for file in path.parent.iterdir()] == ["lanes.npz"]


def test_what_partitions_read_does_not_grow_with_the_square_of_a_pool() -> None:
    assert lanes_module.rows_per_partition(5_000_000) == lanes_module.ROWS_PER_PARTITION
    for rows in (10**8, 10**9, 12_800_000_000):
        of_one = lanes_module.rows_per_partition(rows)
        partitions = -(-rows // of_one)
        files = -(-rows // max(exchange.ROWS_PER_FILE, partitions * exchange.ROWS_PER_BATCH))
        assert of_one <= 8_000_000
        assert files * partitions <= rows / exchange.ROWS_PER_BATCH + partitions
