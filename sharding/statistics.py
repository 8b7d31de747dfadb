"""Statistics of a dataset: counts, and the distributions that a trainer's owner asks for before a run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pairmill.sharding.shard_scan import ShardScan

BINS = 16
_SHARD = re.compile(r"(.+)-\d{5,}-of-\d{5,}")
#: The measures in the order that they are shown; each is in pixels, characters, bytes, or a plain ratio (aspect).
MEASURES = ("width", "height", "aspect", "caption_length", "image_bytes")


@dataclass(frozen=True)
class Distribution:
    """Of one measure over samples. Percentiles are values that occur (no interpolation); ``edges`` bound the bins."""

    count: int
    min: float
    p5: float
    p50: float
    p95: float
    max: float
    mean: float
    edges: tuple[float, ...]  # BINS + 1, or 2 when all values are equal
    bins: tuple[int, ...]

    @property
    def geometric(self) -> bool:
        """Whether bins grow by a factor instead of being equally wide."""
        return _grows(self.min, self.p50, self.max)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return dict(vars(self), edges=list(self.edges), bins=list(self.bins))


@dataclass(frozen=True)
class DatasetStatistics:
    """What ``shard-stats`` tells. ``bytes`` are those of the tars; ``source`` is where the distributions are from."""

    shards: int
    samples: int
    bytes: int
    samples_per_shard: tuple[int, int]  # fewest, most
    splits: dict[str, dict[str, int]]  # split -> shards, samples, bytes; empty where shard names tell no split
    distributions: dict[str, Distribution]  # by measure; only those that were found
    languages: dict[str, int]  # most frequent first; "" where none is known
    members: dict[str, int]  # by extension, most frequent first
    source: str  # "metadata" or "tars"
    embeddings: tuple[dict[str, Any], ...] = ()  # scorer, kind, encoding, dimensions, samples, missing

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``--json`` prints."""
        fewest, most = self.samples_per_shard
        return {
            "shards": self.shards,
            "samples": self.samples,
            "bytes": self.bytes,
            "samples_per_shard": {"min": fewest, "max": most},
            "splits": self.splits,
            "distributions": {name: spread.to_dict() for name, spread in self.distributions.items()},
            "languages": self.languages,
            "members": self.members,
            "source": self.source,
            "embeddings": list(self.embeddings),
        }


def split_of(shard: str) -> str:
    """The split in a shard's name (``train`` of ``train-00000-of-00008``), or "" when the name tells none.

    Of a shard group it is ``train-en``; ``in_splits`` knows whose group that is.
    """
    match = _SHARD.fullmatch(shard)
    return match[1] if match else ""


def distribution(values: npt.ArrayLike, bins: int = BINS) -> Distribution | None:
    """The distribution of a one-dimensional array of numbers, in so many bins; None for an empty one.

    Bins are equally wide, or grow geometrically where the largest value is more than eight times the median.
    """
    data = np.sort(np.asarray(values))
    if not data.size:
        return None
    low, high = float(data[0]), float(data[-1])
    p5, p50, p95 = (float(data[max(0, -(-data.size * percent // 100) - 1)]) for percent in (5, 50, 95))
    if low == high:
        edges = np.array([low, high])
        counts = np.array([data.size])
    else:
        if _grows(low, p50, high):
            edges = np.geomspace(low, high, bins + 1)
        else:
            edges = np.linspace(low, high, bins + 1)
        edges[0], edges[-1] = low, high
        counts = np.histogram(data, edges)[0]
    return Distribution(
        count=int(data.size),
        min=low,
        p5=p5,
        p50=p50,
        p95=p95,
        max=high,
        mean=float(data.mean()),
        edges=tuple(edges.tolist()),
        bins=tuple(counts.tolist()),
    )


def _grows(low: float, middle: float, high: float) -> bool:
    return low > 0 and high > 8 * middle


def dataset_statistics(
    scans: Sequence[ShardScan],
    measures: Mapping[str, npt.ArrayLike] | None,
    languages: Mapping[str, int] | None,
    embeddings: Sequence[dict[str, Any]] = (),
) -> DatasetStatistics:
    """Statistics of scanned shards; ``measures`` and ``languages`` come from metadata, or None to take the scans' own.

    ``embeddings`` are told as they are given. Image bytes and member counts are always those found in the tars.
    """
    found = dict(measures) if measures is not None else _scanned_measures(scans)
    found["image_bytes"] = _joined([scan.image_bytes for scan in scans])
    if languages is None:
        languages = sum((scan.languages for scan in scans), Counter())
    spreads = {name: spread for name in MEASURES if name in found and (spread := distribution(found[name]))}
    splits: dict[str, dict[str, int]] = {}
    for scan in scans:
        if split := split_of(scan.name):
            totals = splits.setdefault(split, {"shards": 0, "samples": 0, "bytes": 0})
            totals["shards"] += 1
            totals["samples"] += scan.samples
            totals["bytes"] += scan.bytes
    return DatasetStatistics(
        shards=len(scans),
        samples=sum(scan.samples for scan in scans),
        bytes=sum(scan.bytes for scan in scans),
        samples_per_shard=(min((s.samples for s in scans), default=0), max((s.samples for s in scans), default=0)),
        splits=splits,
        distributions=spreads,
        languages=_by_count(languages) if any(languages) else {},
        members=_by_count(sum((scan.members for scan in scans), Counter())),
        source="tars" if measures is None else "metadata",
        embeddings=tuple(embeddings),
    )


def aspect_ratios(widths: npt.ArrayLike, heights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Width over height of each image; shape (images,)."""
    return np.asarray(widths, dtype=np.float64) / np.asarray(heights, dtype=np.float64)


def _scanned_measures(scans: Sequence[ShardScan]) -> dict[str, npt.ArrayLike]:
    widths = _joined([scan.widths for scan in scans])
    heights = _joined([scan.heights for scan in scans])
    return {
        "width": widths,
        "height": heights,
        "aspect": aspect_ratios(widths, heights),
        "caption_length": _joined([scan.caption_lengths for scan in scans]),
    }


def _joined(arrays: Sequence[Any]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.frombuffer(a, dtype=np.int64) if len(a) else np.empty(0, np.int64) for a in arrays])


def _by_count(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
