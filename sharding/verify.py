"""Checking that a dataset is what its manifest and indexes say: sums, indexes, keys, counts.

Every check works on what is there: anyone's tars without a manifest are checked against their own indexes, if any.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from os import cpu_count
from pathlib import Path

from pairmill.sharding.fault import Fault, FaultCounter
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest
from pairmill.sharding.mds import FOLDER as MDS
from pairmill.sharding.mds import SUFFIX as MDS_SUFFIX
from pairmill.sharding.plain_tar import mapped, plain_tar
from pairmill.sharding.publish import FileSum, sum_file
from pairmill.sharding.sample_index import (
    DALI_VERSION,
    IndexedMember,
    dali_index,
    dali_index_name,
    energon_index,
    energon_index_name,
)
from pairmill.sharding.samples import TarSample, group_samples
from pairmill.sharding.shard_scan import ShardScan
from pairmill.sharding.tar import DamagedTarError, padding, walk_tar


def verify_sizes(folder: Path, files: Iterable[FileSum]) -> list[Fault]:
    """Compare the presence and size of ``files`` with what the manifest says of them, without reading them."""
    return [fault for file in files if (fault := _check_size(folder, file))]


def verify_sums(folder: Path, files: Iterable[FileSum]) -> list[Fault]:
    """Read ``files``, and compare size and sha256 with what the manifest says of them; on all cores."""
    with ThreadPoolExecutor(cpu_count() or 1) as pool:
        return [fault for fault in pool.map(lambda file: _check_sum(folder, file), files) if fault]


def verify_named(folder: Path, manifest: Manifest) -> list[Fault]:
    """Check that every shard in ``folder`` is one that the manifest names: a trainer's pattern may take in another."""
    named = {file.name for file in manifest.files}
    shards = [path for pattern in ("*.tar", f"{MDS}/*/*{MDS_SUFFIX}") for path in folder.glob(pattern)]
    strangers = sorted(name for path in shards if (name := path.relative_to(folder).as_posix()) not in named)
    return [Fault(name, f"is not named in {MANIFEST_NAME}") for name in strangers]


def _check_size(folder: Path, file: FileSum) -> Fault | None:
    path = folder / file.name
    try:
        if not path.is_file():
            return Fault(file.name, f"is missing, though {MANIFEST_NAME} names it")
        size = path.stat().st_size
    except OSError as error:
        return Fault(file.name, f"cannot be read: {error.strerror}")
    if size != file.bytes:
        return Fault(file.name, f"has {size} bytes, {MANIFEST_NAME} says {file.bytes}")
    return None


def _check_sum(folder: Path, file: FileSum) -> Fault | None:
    fault = _check_size(folder, file)
    try:
        if fault is None and sum_file(folder / file.name).sha256 != file.sha256:
            return Fault(file.name, f"its sha256 is not the one in {MANIFEST_NAME}: the content has changed")
    except OSError as error:
        return Fault(file.name, f"cannot be read: {error.strerror}")
    return fault


def verify_shard(path: Path) -> list[Fault]:
    """Check that all samples have the same members in the same order, and both indexes, if there, against the tar.

    Of an MDS shard the header told that already; ``verify_mds`` has the indexes of such shards. Damage that stops the
    walk is not told here: `scan_shard` does.
    """
    if path.suffix == MDS_SUFFIX:
        return []
    faults = FaultCounter(path.name)
    found = _plain_samples(path) or _walked_samples(path)
    if found is None:
        return []
    starts, placed, end = found
    first = [member.extension for member in placed[0]] if placed else []
    for sample in placed:
        extensions = [member.extension for member in sample]
        if extensions != first:
            key = sample[0].name.removesuffix(f".{extensions[0]}")
            faults.add("members", f"sample {key!r} has members {_words(extensions)}, the first has {_words(first)}")
    return [
        *faults.faults(),
        *_compare_energon(path, energon_index(starts, end)),
        *_compare_dali(path, dali_index(placed)),
    ]


#: Where each sample starts, its members, and where the last one ends.
Placed = tuple[list[int], list[list[IndexedMember]], int]


def _plain_samples(path: Path) -> Placed | None:
    """Of a tar with nothing but plain samples in it."""
    try:
        with mapped(path) as tar:
            found = plain_tar(tar)
    except (OSError, ValueError, IndexError):
        return None
    endings = [found.extensions[kind] for kind in found.extension.tolist()]
    names = [f"{found.keys[sample]}.{ending}" for sample, ending in zip(found.sample.tolist(), endings, strict=True)]
    members = list(map(IndexedMember, endings, found.data.tolist(), found.sizes.tolist(), names))
    bounds = pairwise([*found.firsts.tolist(), len(members)])
    return found.starts.tolist(), [members[start:stop] for start, stop in bounds], found.end


def _walked_samples(path: Path) -> Placed | None:
    silent = FaultCounter(path.name)
    try:
        members = list(walk_tar(path))
    except (DamagedTarError, OSError):
        return None
    samples = list(group_samples(members, silent, silent))
    end = members[-1].data_offset + members[-1].size + padding(members[-1].size) if members else 0
    return [sample.members[0][1].header_offset for sample in samples], [_indexed(sample) for sample in samples], end


def verify_keys(scans: Sequence[ShardScan]) -> list[Fault]:
    """Check that no key is in two shards; Energon and caches of trainers need keys unique over the dataset."""
    home: dict[str, str] = {}
    faults: dict[str, FaultCounter] = {}
    for scan in scans:
        for key in dict.fromkeys(scan.keys):
            other = home.setdefault(key, scan.file)
            if other != scan.file:
                counter = faults.setdefault(scan.file, FaultCounter(scan.file))
                counter.add(other, f"key {key!r} is in {other} too")
    return [fault for counter in faults.values() for fault in counter.faults()]


def verify_counts(folder: Path, scans: Sequence[ShardScan], manifest: Manifest | None) -> list[Fault]:
    """Compare the samples found in each tar with what the manifest and the dataset's indexes claim."""
    claims = _claimed_counts(folder)
    if manifest is not None:
        shards = manifest.shards
        files = [(file.name, Path(file.name).stem) for file in manifest.files]
        claims.append((MANIFEST_NAME, {name: shards[stem] for name, stem in files if stem in shards}))
    faults = []
    for scan in scans:
        for source, counts in claims:
            if counts is None:
                continue
            claimed = counts.get(scan.file)
            if claimed is not None and claimed != scan.samples:
                faults.append(Fault(scan.file, f"holds {scan.samples} samples, {source} says {claimed}"))
    return faults + [
        Fault(source, "is no index of shards that can be read") for source, counts in claims if counts is None
    ]


def verify_metadata(scans: Sequence[ShardScan], keys: Mapping[str, Sequence[str]]) -> list[Fault]:
    """Compare the keys in each tar, in order, with the rows of the metadata; ``keys`` is by shard name."""
    faults = []
    for scan in scans:
        rows = list(keys.get(scan.name, ()))
        if len(rows) != scan.samples:
            faults.append(Fault(scan.file, f"holds {scan.samples} samples, the metadata has {len(rows)} rows for it"))
        elif rows != scan.keys:
            place = next(i for i, (row, key) in enumerate(zip(rows, scan.keys, strict=True)) if row != key)
            faults.append(
                Fault(scan.file, f"sample {place} has the key {scan.keys[place]!r}, the metadata says {rows[place]!r}")
            )
    unknown = sorted(set(keys) - {scan.name for scan in scans})
    return faults + [Fault(f"{name}.tar", "is missing, though the metadata has rows for it") for name in unknown]


def _indexed(sample: TarSample) -> list[IndexedMember]:
    return [IndexedMember(extension, m.data_offset, m.size, m.name) for extension, m in sample.members]


def _words(extensions: Sequence[str]) -> str:
    return " ".join(extensions)


def _compare_energon(tar: Path, expected: bytes) -> list[Fault]:
    path = tar.with_name(energon_index_name(tar.name))
    found = _content(path)
    if found is None or found == expected:
        return []
    if isinstance(found, Fault):
        return [found]
    if len(found) != len(expected):
        what = f"has {len(found)} bytes where the tar's {len(expected) // 8 - 1} samples need {len(expected)}"
    else:
        place = next(i for i in range(0, len(found), 8) if found[i : i + 8] != expected[i : i + 8])
        what = f"entry {place // 8} is not where the tar has that sample"
    return [Fault(path.name, f"Energon index is wrong: {what}")]


def _compare_dali(tar: Path, expected: bytes) -> list[Fault]:
    path = tar.with_name(dali_index_name(tar.name))
    found = _content(path)
    if found is None or found == expected:
        return []
    if isinstance(found, Fault):
        return [found]
    lines, expected_lines = found.split(b"\n"), expected.split(b"\n")
    if not lines[0].startswith(DALI_VERSION.encode()):
        what = f"its first line is not of version {DALI_VERSION}"
    elif lines[0] != expected_lines[0]:
        what = f"it starts {lines[0][:40].decode('latin-1')!r}, the tar needs {expected_lines[0].decode()!r}"
    else:
        place = next((i for i, pair in enumerate(zip(lines, expected_lines, strict=False)) if pair[0] != pair[1]), -1)
        what = f"line {place + 1} is not what the tar has" if place >= 0 else "it has too few or too many lines"
    return [Fault(path.name, f"DALI index is wrong: {what}")]


def _content(path: Path) -> bytes | Fault | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        return Fault(path.name, f"cannot be read: {error.strerror}")


def _claimed_counts(folder: Path) -> list[tuple[str, dict[str, int] | None]]:
    """What each index of the dataset says: its name, and tar file name to samples, or None when it cannot be read."""
    claims: list[tuple[str, dict[str, int] | None]] = []
    for path in [folder / "sizes.json", *sorted(folder.glob("shardindex*.json")), folder / ".nv-meta" / ".info.json"]:
        if not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        try:
            data = json.loads(path.read_bytes())
            if "shardlist" in data:
                counts = {str(shard["url"]).rsplit("/", 1)[-1]: int(shard["nsamples"]) for shard in data["shardlist"]}
            else:
                counts = {str(tar): int(samples) for tar, samples in data.get("shard_counts", data).items()}
            claims.append((name, counts))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            claims.append((name, None))
    return claims
