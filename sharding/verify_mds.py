"""Checking MDS shards: each against its index, and against the tar of the same samples where there is one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pairmill.sharding.fault import Fault
from pairmill.sharding.mds import INDEX_NAME, SUFFIX, MdsColumns, MdsError, find_mds, mds_label, open_mds
from pairmill.sharding.scan import ShardScan, scan_shard
from pairmill.sharding.shard_plan import in_splits
from pairmill.sharding.statistics import split_of


def verify_mds(folder: Path, scans: Sequence[ShardScan], splits: Collection[str] | None = None) -> list[Fault]:
    """Check every index, and that an MDS shard holds the samples of the tar of its name.

    ``scans`` are those of the target, ``splits`` the only ones to look at (None: all).
    Sums are not taken here: the manifest has them. Nothing is found in a folder without MDS.
    """
    shards = [path for path in find_mds(folder) if in_splits(split_of(path.stem), splits)]
    faults = [fault for parent in sorted({path.parent for path in shards}) for fault in _verify_index(parent)]
    tars = {scan.name: scan for scan in scans if not scan.file.endswith(SUFFIX)}
    for path in shards if tars else ():
        scan = scan_shard(path, contents=False)
        faults += scan.faults
        tar = tars.get(scan.name)
        if tar is None:
            faults.append(Fault(scan.file, "is there without a tar of the same name"))
        elif not scan.faults and not tar.faults and scan.keys != tar.keys:
            faults.append(Fault(scan.file, f"does not hold the samples of {tar.file} in their order"))
    return faults


def _verify_index(folder: Path) -> Iterator[Fault]:
    """An index names every shard of its folder, with its columns, its length and its number of samples."""
    path = folder / INDEX_NAME
    label = mds_label(path)
    try:
        entries = {str(entry["raw_data"]["basename"]): entry for entry in json.loads(path.read_bytes())["shards"]}
    except FileNotFoundError:
        yield Fault(label, "is missing: mosaicml-streaming finds no shards without it")
        return
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        yield Fault(label, "is no index of MDS shards that can be read")
        return
    found = {shard.name for shard in folder.glob(f"*{SUFFIX}")}
    for name in sorted(found - entries.keys()):
        yield Fault(mds_label(folder / name), f"is not named in {INDEX_NAME}")
    for name, entry in entries.items():
        if name not in found:
            yield Fault(mds_label(folder / name), f"is missing, though {INDEX_NAME} names it")
        elif (what := _unlike(folder / name, entry)) is not None:
            yield Fault(label, what)


def _unlike(shard: Path, entry: Mapping[str, Any]) -> str | None:
    try:
        told = open_mds(shard)
    except (MdsError, OSError):
        return None  # the scan of the shard says so
    try:
        if MdsColumns.of_config(entry) != told.columns:
            return f"tells other columns of {shard.name} than the shard itself"
        size, samples = int(entry["raw_data"]["bytes"]), int(entry["samples"])
    except (KeyError, TypeError, ValueError):
        return f"does not tell columns, bytes and samples of {shard.name}"
    if (size, samples) != (told.bytes, len(told.places)):
        return (
            f"says {size:,} bytes and {samples:,} samples of {shard.name}, which has {told.bytes:,} bytes and "
            f"{len(told.places):,} samples"
        )
    return None
