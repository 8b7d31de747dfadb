"""The index files that anyone's shards lack: DALI's and Energon's beside each tar, and those of the whole set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pairmill.sharding.errors import UsageError
from pairmill.sharding.fault import Fault, FaultCounter
from pairmill.sharding.indexes import write_indexes
from pairmill.sharding.manifest import MANIFEST_NAME
from pairmill.sharding.publish import publish_bytes
from pairmill.sharding.sample_index import (
    IndexedMember,
    dali_index,
    dali_index_name,
    energon_index,
    energon_index_name,
)
from pairmill.sharding.samples import TarSample, group_samples
from pairmill.sharding.shard import ShardInfo
from pairmill.sharding.shard_scan import IMAGE_MEMBERS
from pairmill.sharding.statistics import split_of
from pairmill.sharding.tar import DamagedTarError, padding, walk_tar


def index_shards(
    folder: Path, tars: Sequence[Path], progress: Callable[[int], None] = lambda done: None
) -> tuple[list[str], list[Fault]]:
    """Write the indexes of ``tars``, all of ``folder``; returns the names of the files written, and what is wrong.

    A tar with faults gets no index, and then the set gets none: trainers would read what is not there. Files that are
    there are left as they are where they are right. Raises UsageError for a pairmill dataset, which has its indexes,
    and for an index that is there and tells something else.
    """
    if (folder / MANIFEST_NAME).is_file():
        raise UsageError(f"{folder} is a pairmill dataset and has its indexes; --verify checks them")
    written: list[str] = []
    faults: list[Fault] = []
    splits: dict[str, list[ShardInfo]] = {}
    extension = ""
    for number, tar in enumerate(tars):
        samples, found = _samples(tar)
        faults += found
        if not found:
            extension = extension or _image_extension(samples)
            written += _write(tar, samples)
            info = ShardInfo(tar.name.removesuffix(".tar"), len(samples), tar.stat().st_size, "", ())
            splits.setdefault(split_of(info.name) or "train", []).append(info)
        progress(number + 1)
    if not faults:
        written += [file.name for file in write_indexes(folder, splits, extension or "jpg")]
    return written, faults


def _samples(tar: Path) -> tuple[list[TarSample], list[Fault]]:
    faults, warnings = FaultCounter(tar.name), FaultCounter(tar.name)
    samples: list[TarSample] = []
    try:
        samples = list(group_samples(walk_tar(tar), faults, warnings))
        if not samples:
            faults.add("empty", "holds no samples; trainers cannot read an empty shard")
        elif any(" " in member.name for sample in samples for _, member in sample.members):
            faults.add("space", "has a member with a space in its name; DALI's index cannot tell it")
    except DamagedTarError as error:
        faults.add("damage", f"at byte {error.offset}: {error.what}")
    except OSError as error:
        faults.add("unreadable", f"cannot be read: {error.strerror}")
    return samples, faults.faults()


def _write(tar: Path, samples: Sequence[TarSample]) -> list[str]:
    placed = [[IndexedMember(ext, m.data_offset, m.size, m.name) for ext, m in sample.members] for sample in samples]
    last = samples[-1].members[-1][1]
    starts = [sample.members[0][1].header_offset for sample in samples]
    contents = {
        dali_index_name(tar.name): dali_index(placed),
        energon_index_name(tar.name): energon_index(starts, last.data_offset + last.size + padding(last.size)),
    }
    written = []
    for name, content in contents.items():
        path = tar.with_name(name)
        if path.is_file() and path.read_bytes() == content:
            continue
        if path.exists():
            raise UsageError(f"{path} is there and is not the index of {tar.name}; remove it first")
        publish_bytes(path, content)
        written.append(name)
    return written


def _image_extension(samples: Sequence[TarSample]) -> str:
    return next((ext for ext, _ in samples[0].members if ext.lower() in IMAGE_MEMBERS), "")
