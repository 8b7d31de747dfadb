"""One shard in the formats that a dataset is asked for: a tar with its indexes, MDS, or both from one reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pairmill.sharding.mds import FOLDER, SUFFIX, MdsAppender, publishing_mds
from pairmill.sharding.publish import FileSum
from pairmill.sharding.shard import MemberSample, ShardInfo, check_shard_name, checked_samples, write_members

#: ``webdataset``: tars; ``mds``: what mosaicml-streaming reads; ``both``: each sample twice.
Format = Literal["webdataset", "mds", "both"]


@dataclass(frozen=True)
class Ahead:
    """What MDS must know before the first sample is written: its members, and what each takes (``payload_bytes``)."""

    extensions: tuple[str, ...]
    payloads: Sequence[int]


def mds_path(folder: Path, split: str, name: str) -> Path:
    """Where the MDS file of a shard lies in a dataset."""
    return folder / FOLDER / split / f"{name}{SUFFIX}"


def write_formats(
    folder: Path, split: str, name: str, samples: Iterable[MemberSample], format: Format, ahead: Callable[[], Ahead]
) -> ShardInfo:
    """Write a shard of the dataset ``folder``; samples are taken once. ``ahead`` is asked only where MDS is written.

    Raises as ``write_members`` does, and ValueError for samples that are not what ``ahead`` tells.
    """
    if format == "webdataset":
        return write_members(folder / name, samples)
    check_shard_name(name)
    told = ahead()
    files: list[FileSum] = []
    with publishing_mds(mds_path(folder, split, name), told.extensions, told.payloads, files) as mds:
        if format == "both":
            info = write_members(folder / name, _through(samples, mds))
        else:
            for sample in checked_samples(samples, name):
                mds.add(sample)
            info = ShardInfo(name, mds.samples, 0, "", ())
    return ShardInfo(name, info.samples, info.bytes, info.sha256, info.indexes, files[0], told.extensions)


def _through(samples: Iterable[MemberSample], mds: MdsAppender) -> Iterator[MemberSample]:
    for sample in samples:
        mds.add(sample)
        yield sample
