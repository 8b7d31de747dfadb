"""The arithmetic of shards: how many, which samples go where, what they are called, how many bytes they take.

Shards hold equally many samples, within one: trainers that sample shards with replacement (open_clip
``--dataset-resampled``) would otherwise see the samples of small shards more often.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from pairmill.sharding.tar import BLOCK_BYTES, RECORD_BYTES

#: Fits in memory whole, and holds some 8,000 samples of 30 KB; for shards on a local NVMe disk.
TARGET_BYTES = 256 * 2**20

_UID = re.compile(r"[0-9a-f]{32}")
_SPLIT = re.compile(r"[a-z][a-z0-9_]*(-[a-z0-9_]+)?")
#: ``split``: names tell split, number and count; ``datacomp``: a number of eight digits, as DataComp's tools want them.
Layout = Literal["split", "datacomp"]
Sizes = TypeVar("Sizes", int, npt.NDArray[np.int64])


def member_bytes(size: Sizes) -> Sizes:
    """What one member of ``size`` data bytes takes in a tar: a header and whole blocks (number or array)."""
    return BLOCK_BYTES + (size + (BLOCK_BYTES - 1)) // BLOCK_BYTES * BLOCK_BYTES


def tar_bytes(sizes: Iterable[int]) -> int:
    """The exact size in bytes of a tar whose members have these data sizes, its end and last record included."""
    used = sum(member_bytes(size) for size in sizes) + 2 * BLOCK_BYTES
    return used + -used % RECORD_BYTES


def shard_count(
    samples: int,
    mean_sample_bytes: float,
    target_bytes: int = TARGET_BYTES,
    samples_per_shard: int | None = None,
    multiple_of: int = 1,
) -> int:
    """How many shards hold ``samples`` so that none passes ``target_bytes`` on average, or ``samples_per_shard``.

    ``mean_sample_bytes`` is what a sample takes in a tar (the sum of its ``member_bytes``). The count is rounded up to
    a multiple of ``multiple_of`` (GPUs times loader workers, say); where there are too few samples for that, down to
    the largest multiple without an empty shard, and below one multiple to one sample a shard. No samples, no shards.

    Raises ValueError for a target, a multiple or a mean that is not above zero.
    """
    for name, value in (("target_bytes", target_bytes), ("multiple_of", multiple_of)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if samples_per_shard is not None and samples_per_shard < 1:
        raise ValueError(f"samples_per_shard is {samples_per_shard}; it must be at least 1")
    if samples < 0 or not mean_sample_bytes > 0 or not math.isfinite(mean_sample_bytes):
        raise ValueError(f"cannot plan shards for {samples} samples of {mean_sample_bytes} bytes")
    if samples == 0:
        return 0
    if samples_per_shard is not None:
        wanted = -(-samples // samples_per_shard)
    else:
        wanted = math.ceil(samples * mean_sample_bytes / target_bytes)
    rounded = -(-wanted // multiple_of) * multiple_of
    if rounded <= samples:
        return rounded
    return samples // multiple_of * multiple_of or samples


def shard_sizes(samples: int, shards: int) -> list[tuple[int, int]]:
    """The half-open range of ranks of each shard: [floor(i N / S), floor((i + 1) N / S)), equal within one sample.

    Raises ValueError when a shard would be empty.
    """
    if shards > samples or (samples and shards < 1) or shards < 0:
        raise ValueError(f"{samples} samples cannot fill {shards} shards; no shard may be empty")
    bounds = [i * samples // shards for i in range(shards + 1)] if shards else []
    return list(pairwise(bounds))


def shard_of(ranks: npt.NDArray[np.int64], samples: int, shards: int) -> npt.NDArray[np.int64]:
    """The shard that each rank (0 to samples - 1) falls into under ``shard_sizes``; same shape as ``ranks``, int64."""
    return ((ranks.astype(np.int64) + 1) * shards - 1) // samples


def shard_name(split: str, index: int, count: int, layout: Layout = "split") -> str:
    """``train-00000-of-00008``: Hugging Face's naming, without a suffix. Widens beyond five digits where it must.

    ``split`` may be that of a shard group, ``train-en``. Raises ValueError for one that is not lower-case letters,
    digits and _, and for an index outside 0..count-1.
    """
    if not _SPLIT.fullmatch(split):
        raise ValueError(f"split name {split!r} must be a lower-case letter, then letters, digits and _")
    if not 0 <= index < count:
        raise ValueError(f"shard index {index} is outside 0..{count - 1}")
    if layout == "datacomp":
        return f"{index:08d}"
    width = max(5, len(str(count)))
    return f"{split}-{index:0{width}d}-of-{count:0{width}d}"


def split_and_group(split: str) -> tuple[str, str]:
    """``train`` and ``en`` of ``train-en``, the shards of one group; the group is "" where there is none."""
    name, _, group = split.partition("-")
    return name, group


def in_splits(split: str, wanted: Iterable[str] | None) -> bool:
    """Whether shards of ``split`` are wanted: by that name, or as a group of a split that is; None wants all."""
    return wanted is None or any(split == name or split_and_group(split)[0] == name for name in wanted)


def brace_pattern(names: Sequence[str]) -> str:
    """``train-{00000..00007}-of-00008`` for all the names of one split in order; one name stays as it is.

    Raises ValueError for no names, and for names that are not numbered in order without gaps.
    """
    if not names:
        raise ValueError("no shard names to make a pattern of")
    if len(names) == 1:
        return names[0]
    if names[0].isdigit():  # DataComp's
        head, start, stop, tail = "", names[0], names[-1], ""
    else:
        split, start, _, count = names[0].rsplit("-", 3)
        head, stop, tail = f"{split}-", names[-1].rsplit("-", 3)[1], f"-of-{count}"
    if int(stop) - int(start) + 1 != len(names):
        raise ValueError(f"shards {names[0]} to {names[-1]} are not numbered in order without gaps")
    return f"{head}{{{start}..{stop}}}{tail}"


def sample_key(uid: str, copy: int = 0) -> str:
    """The key of a sample: the pair's uid, and ``UID-1``, ``UID-2``, … for the further copies of a repeated pair.

    A uid that is not 32 hex digits (a pool may bring its own) is replaced by its 128-bit blake2b digest: keys know no
    dots, spaces or other scripts, and ``a-1`` must not be both a pair and the copy of another.
    """
    key = (
        uid
        if _UID.fullmatch(uid)
        else hashlib.blake2b(uid.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    )
    return f"{key}-{copy}" if copy else key
