from __future__ import annotations

import io
import tarfile
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.shard_plan import (
    brace_pattern,
    in_splits,
    member_bytes,
    sample_key,
    shard_count,
    shard_name,
    shard_of,
    shard_sizes,
    split_and_group,
    tar_bytes,
)


@given(samples=st.integers(1, 10**10), shards=st.integers(1, 400))
def test_shards_share_equally_and_cover_all(samples: int, shards: int) -> None:
    shards = min(shards, samples)
    ranges = shard_sizes(samples, shards)
    sizes = [stop - start for start, stop in ranges]
    assert len(ranges) == shards
    assert ranges[0][0] == 0
    assert ranges[-1][1] == samples
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@given(samples=st.integers(1, 3000), shards=st.integers(1, 300))
def test_shard_of_agrees_with_the_ranges(samples: int, shards: int) -> None:
    shards = min(shards, samples)
    expected = np.repeat(np.arange(shards), [stop - start for start, stop in shard_sizes(samples, shards)])
    assert np.array_equal(shard_of(np.arange(samples), samples, shards), expected)


def test_no_shard_is_planned_empty() -> None:
    assert shard_sizes(0, 0) == []
    for samples, shards in ((3, 4), (0, 1), (5, 0), (5, -1)):
        with pytest.raises(ValueError, match="cannot fill"):
            shard_sizes(samples, shards)


@given(
    samples=st.integers(0, 10**9),
    mean=st.floats(1, 1e8),
    target=st.integers(1, 2**34),
    multiple=st.integers(1, 1000),
)
def test_shard_count_keeps_its_promises(samples: int, mean: float, target: int, multiple: int) -> None:
    count = shard_count(samples, mean, target, multiple_of=multiple)
    assert count <= samples
    assert (count == 0) == (samples == 0)
    if samples >= multiple:
        assert count % multiple == 0
        if count < samples // multiple * multiple:
            assert samples * mean / count <= target * (1 + 1e-12)
            assert count - multiple < samples * mean / target + 1  # not more than asked for


def test_shard_count_of_known_sizes() -> None:
    assert shard_count(1000, 30_000) == 1
    assert shard_count(11_000_000, 35_000, multiple_of=64) == 1472
    assert shard_count(1000, 30_000, samples_per_shard=100) == 10
    assert shard_count(1001, 30_000, samples_per_shard=100) == 11
    assert shard_count(100, 1, samples_per_shard=1, multiple_of=64) == 64
    assert shard_count(5, 1, multiple_of=8) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        {"target_bytes": 0},
        {"samples_per_shard": 0},
        {"multiple_of": 0},
        {"mean_sample_bytes": 0.0},
        {"mean_sample_bytes": float("nan")},
        {"samples": -1},
    ],
)
def test_shard_count_refuses_nonsense(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be at least 1|cannot plan"):
        shard_count(**{"samples": 10, "mean_sample_bytes": 1.0, **arguments})  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 3000), max_size=40))
def test_tar_bytes_is_exact(sizes: list[int]) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, size in enumerate(sizes):
            info = tarfile.TarInfo(str(number))
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
    assert tar_bytes(sizes) == len(file.getvalue())


def test_member_bytes_of_an_array() -> None:
    assert member_bytes(np.array([0, 1, 512, 513])).tolist() == [512, 1024, 1024, 1536]


def test_shard_name() -> None:
    assert shard_name("train", 0, 8) == "train-00000-of-00008"
    assert shard_name("val", 123456, 200000) == "val-123456-of-200000"
    with pytest.raises(ValueError, match="outside"):
        shard_name("train", 8, 8)
    assert shard_name("train-en", 1, 2) == "train-en-00001-of-00002"
    assert shard_name("train", 1, 2, "datacomp") == "00000001"
    for split in ("", "Train", "a-", "-a", "a-b-c", "a-B", "a b", "../a"):
        with pytest.raises(ValueError, match="split name"):
            shard_name(split, 0, 1)


def test_splits_and_their_groups() -> None:
    assert split_and_group("train") == ("train", "")
    assert split_and_group("train-en") == ("train", "en")
    assert in_splits("train-en", ("train",))
    assert in_splits("train-en", ("val", "train-en"))
    assert in_splits("train-en", None)
    assert not in_splits("train", ("train-en",))
    assert not in_splits("train-en", ())


def test_brace_pattern_means_the_names() -> None:
    braceexpand = pytest.importorskip("braceexpand").braceexpand
    for count in (1, 2, 11, 101):
        names = [shard_name("train", i, count) for i in range(count)]
        assert list(braceexpand(brace_pattern(names))) == names
    with pytest.raises(ValueError, match="gaps"):
        brace_pattern([shard_name("train", i, 5) for i in (0, 1, 3)])
    with pytest.raises(ValueError, match="no shard names"):
        brace_pattern([])


def test_sample_key_of_a_uid() -> None:
    uid = "0123456789abcdef" * 2
    assert sample_key(uid) == uid
    assert sample_key(uid, 2) == uid + "-2"


@given(st.lists(st.tuples(st.text(max_size=40), st.integers(0, 3)), unique=True, max_size=30))
def test_sample_keys_are_unique_and_fit_every_reader(pairs: list[tuple[str, int]]) -> None:
    keys = [sample_key(uid, copy) for uid, copy in pairs]
    assert len(set(keys)) == len(pairs)
    assert all(key.replace("-", "").isalnum() and key.isascii() and len(key) < 40 for key in keys)
