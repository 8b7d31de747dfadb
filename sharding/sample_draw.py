"""A few samples of anyone's shards to look at, spread over all of them and the same every time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.fault import FaultCounter
from pairmill.sharding.mds import SUFFIX, MdsError, mds_sample, open_mds
from pairmill.sharding.samples import group_samples
from pairmill.sharding.shard_source import indexed_places, read_sample
from pairmill.sharding.shuffle import mix
from pairmill.sharding.tar import DamagedTarError, walk_tar

#: Shards that are opened: headers of a tar without an index are walked up to the sample.
MAX_SHARDS = 16
MAX_MEMBER_BYTES = 64 << 20


class DrawnSample(NamedTuple):
    """A sample, by shard and its place in it; ``members`` are those of at most MAX_MEMBER_BYTES, by extension."""

    shard: str
    place: int
    key: str
    members: dict[str, bytes]


def draw_samples(
    tars: Sequence[Path], counts: Mapping[str, int], wanted: int, seed: int = 0
) -> tuple[DrawnSample, ...]:
    """Up to ``wanted`` samples in the order of the shards; ``counts``: how many each shard has, by its name.

    Every sample of a chosen shard is as likely as another; at most MAX_SHARDS are chosen, evenly. What cannot be read
    is left out: damage is for others to tell.
    """
    filled = [tar for tar in tars if counts.get(tar.stem, 0) > 0]
    filled = [filled[place] for place in _spread(len(filled), MAX_SHARDS, seed, "shards").tolist()]
    sizes = [counts[tar.stem] for tar in filled]
    drawn = _spread(sum(sizes), wanted, seed, "samples")
    found: list[DrawnSample] = []
    start = 0
    for tar, size in zip(filled, sizes, strict=True):
        mine = drawn[(drawn >= start) & (drawn < start + size)] - start
        if mine.size:
            found += _read(tar, mine.tolist())
        start += size
    return tuple(found)


def _spread(of: int, wanted: int, seed: int, purpose: str) -> npt.NDArray[np.int64]:
    """Numbers below ``of``, ascending, one drawn from each of ``wanted`` equal ranges; all where there are no more."""
    if of <= wanted:
        return np.arange(of)
    chance = mix(np.arange(wanted, dtype=np.uint64), seed, purpose).astype(np.float64) / 2**64
    return np.minimum(((np.arange(wanted) + chance) * of / wanted).astype(np.int64), of - 1)


def _read(tar: Path, places: Sequence[int]) -> list[DrawnSample]:
    if tar.suffix == SUFFIX:
        return list(_of_mds(tar, places))
    try:
        return list(_indexed(tar, places))
    except (PairmillError, OSError, IndexError):
        return list(_walked(tar, places))


def _indexed(tar: Path, places: Sequence[int]) -> Iterator[DrawnSample]:
    """By Energon's index. Raises IndexError where there is none of this tar, PairmillError where it is of another."""
    offsets = indexed_places(tar)
    if offsets is None:
        raise IndexError(tar.name)
    with open(tar, "rb", buffering=0) as file:
        for place in places:
            start, end = (int(offset) for offset in offsets[place])
            if end - start > 2 * MAX_MEMBER_BYTES:
                continue
            sample = read_sample(file.fileno(), tar, start, end)
            yield _drawn(tar, place, sample.key, {name: bytes(data) for name, data in sample.members})


def _of_mds(path: Path, places: Sequence[int]) -> Iterator[DrawnSample]:
    """Of an MDS shard whose columns are members as pairmill writes them; nothing of others, or of damaged ones."""
    try:
        shard = open_mds(path)
        with open(path, "rb", buffering=0) as file:
            for place in places if shard.columns.ours else ():
                start, end = shard.places[place].tolist()
                if end - start <= 2 * MAX_MEMBER_BYTES:
                    sample = mds_sample(shard, os.pread(file.fileno(), end - start, start))
                    yield _drawn(path, place, sample.key, {name: bytes(data) for name, data in sample.members})
    except (MdsError, OSError, IndexError):
        return


def _walked(tar: Path, places: Sequence[int]) -> Iterator[DrawnSample]:
    """By the headers, up to the last of the samples or to the damage."""
    wanted, last = set(places), max(places)
    nothing = FaultCounter(tar.name)
    try:
        with open(tar, "rb", buffering=0) as file:
            for place, sample in enumerate(group_samples(walk_tar(tar), nothing, nothing)):
                if place in wanted:
                    members = {
                        name: os.pread(file.fileno(), member.size, member.data_offset)
                        for name, member in sample.members
                        if member.size <= MAX_MEMBER_BYTES
                    }
                    yield _drawn(tar, place, sample.key, members)
                if place >= last:
                    return
    except (DamagedTarError, OSError):
        return


def _drawn(tar: Path, place: int, key: str, members: dict[str, bytes]) -> DrawnSample:
    kept = {name: data for name, data in members.items() if len(data) <= MAX_MEMBER_BYTES}
    return DrawnSample(tar.stem, place, key, kept)
