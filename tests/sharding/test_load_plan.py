from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.load_plan import LEAST_BYTES, MOST_BYTES, NodeSpeed, Training, choose_shards, plan_load
from pairmill.sharding.topology import Topology, judge_topology

FAST = NodeSpeed(disk=5e9, decode=900, cores=64)


@given(
    samples=st.integers(1, 10**9),
    sample_bytes=st.floats(1000, 1e6),
    nodes=st.integers(1, 16),
    gpus=st.integers(1, 8),
    workers=st.integers(1, 12),
    rate=st.floats(1, 5000),
)
def test_the_shards_of_any_plan_fit_the_run(
    samples: int, sample_bytes: float, nodes: int, gpus: int, workers: int, rate: float
) -> None:
    training = Training(nodes, gpus, workers, rate)
    plan = plan_load(samples, sample_bytes, training, FAST)
    least, most = plan.samples_per_shard
    assert 1 <= least <= most <= least + 1
    assert 1 <= plan.shards <= samples
    assert plan.shard_bytes <= MOST_BYTES * 1.01 or plan.shards == training.readers
    if samples >= training.readers:
        assert plan.shards % training.readers == 0
    else:
        assert any("too few" in note for note in plan.notes)
    if plan.shard_bytes < LEAST_BYTES:  # only where each reader is to have one
        assert plan.shards <= training.readers
        assert any("smaller than 64 MiB" in note or "too few" in note for note in plan.notes)
    assert plan.binds == min(plan.by_resource, key=lambda name: plan.by_resource[name])


@pytest.mark.parametrize(
    ("node", "rate", "binds", "lift"),
    [
        (FAST, 787, "gpu", "nothing: the GPUs are kept busy"),
        (NodeSpeed(disk=5e9, decode=300, cores=8), 787, "decode", "21 cores a node in place of 8 would"),
        (NodeSpeed(disk=5e9, decode=50, cores=256), 787, "decode", "16 loader workers a GPU in place of 8 would"),
        (
            NodeSpeed(disk=5e9, decode=20, cores=256),
            787,
            "decode",
            "315 cores a node in place of 256, each with a loader",
        ),
        (NodeSpeed(disk=5e9, decode=900, cores=8, tars=500), 787, "tars", "or a loader that takes less to read a tar"),
        (NodeSpeed(disk=50e6, decode=900, cores=64), 787, "disk", "0.19 GB/s a node"),
        (NodeSpeed(disk=5e9, decode=900, cores=64, capacity=1e9, remote=1e6), 787, "store", "from the store"),
    ],
)
def test_what_binds_and_what_lifts_it(node: NodeSpeed, rate: float, binds: str, lift: str) -> None:
    plan = plan_load(11_000_000, 30_000, Training(1, 8, 8, rate), node)
    assert plan.binds == binds
    assert lift in plan.lift
    assert plan.samples_per_s == min(plan.by_resource.values())


def test_cores_without_a_loader_worker_do_not_count() -> None:
    for gpus, workers, cores in ((1, 2, 2), (1, 4, 4), (8, 8, 64), (8, 16, 64)):
        plan = plan_load(10**6, 30_000, Training(1, gpus, workers, 5000), NodeSpeed(5e9, 100, 64, tars=8000))
        assert plan.by_resource["decode"] == cores * 100
        assert plan.by_resource["tars"] == cores * 8000
        assert plan.binds == "decode"


def test_who_decodes_on_the_gpu_does_not_wait_for_cores() -> None:
    plan = plan_load(10**6, 30_000, Training(1, 8, 8, 5000, decodes=False), NodeSpeed(5e9, 100, 4, tars=8000))
    assert set(plan.by_resource) == {"gpu", "disk", "tars"}
    assert (plan.binds, plan.samples_per_s) == ("tars", 4 * 8000)


def test_the_sizes_that_practice_has() -> None:
    """11 M pairs of 35 kB for 8 GPUs with 8 workers: thousands of samples and some 100 MiB a shard."""
    plan = plan_load(11_000_000, 35_000, Training(1, 8, 8, 787), FAST)
    assert plan.shards % 64 == 0
    assert 64 <= plan.shard_bytes / 2**20 <= 512
    counts = [plan.samples_per_shard[0]] * plan.shards
    found = {one.loader: one.verdict for one in judge_topology(counts, Topology(1, 8, 8))}
    assert set(found.values()) == {"even"}
    small = plan_load(1_000_000, 35_000, Training(8, 8, 8, 787), FAST)
    assert small.shards == 512
    assert not small.notes
    tiny = plan_load(100_000, 35_000, Training(8, 8, 8, 787), FAST)
    assert tiny.shards == 512
    assert any("smaller than 64 MiB" in note for note in tiny.notes)


@pytest.mark.parametrize(
    ("samples", "training", "shards", "because"),
    [
        (11_000_000, Training(1, 8, 8, 787), 1920, "shards of 169 MiB, a minute of a loader worker's reading"),
        (400_000_000, Training(16, 8, 8, 787), 68_608, "shards of 169 MiB, a minute of a loader worker's reading"),
        (400_000_000, Training(1, 8, 1, 5000), 11_176, "shards of 1,024 MiB, the bound for a minute of"),
        (11_000_000, Training(1, 8, 8, 20), 4864, "shards of at least 64 MiB"),
        (2_000_000, Training(1, 8, 8, 787), 512, "8 shards for each of 64 loader workers"),
        (500_000, Training(1, 8, 8, 787), 192, "shards of at least 64 MiB"),
        (50_000, Training(1, 8, 8, 787), 64, "a shard for each of 64 loader workers"),
        (50, Training(1, 8, 8, 787), 50, "the samples: no shard may be empty"),
    ],
)
def test_what_decided_is_told(samples: int, training: Training, shards: int, because: str) -> None:
    chosen = choose_shards(samples, 30_000, training)
    assert (chosen.shards, chosen.because[: len(because)]) == (shards, because)


def test_what_does_not_fit_is_told() -> None:
    plan = plan_load(10**7, 30_000, Training(), NodeSpeed(5e9, 900, 64, capacity=1e11, remote=1e9))
    assert any("does not fit the disk" in note for note in plan.notes)
    assert plan.stage_in_s == pytest.approx(100)


def test_wrong_values_are_refused() -> None:
    for wrong in ({"nodes": 0}, {"gpus": 0}, {"workers": 0}, {"samples_per_s": 0.0}, {"samples_per_s": math.nan}):
        with pytest.raises(ValueError, match="must be"):
            Training(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no plan for 0 samples"):
        plan_load(0, 1.0, Training(), FAST)
