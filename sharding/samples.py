"""Samples in anyone's tar: which members belong together, and which have no place in a shard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pairmill.sharding.fault import FaultCounter
from pairmill.sharding.tar import TarMember

# As webdataset splits names: at the first dot after the last slash.
_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]*)", re.DOTALL)
_TYPES = {"1": "a hard link", "2": "a symbolic link", "3": "a device", "4": "a device", "6": "a FIFO"}


class TarSample(NamedTuple):
    """One sample: its key (with the folder, if any), and its members in tar order as (extension, member)."""

    key: str
    members: list[tuple[str, TarMember]]


def split_name(name: str) -> tuple[str, str] | None:
    """Key and extension of a member's name; None for names without either, which no reader takes for a sample's."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2]) if match else None


def group_samples(members: Iterable[TarMember], faults: FaultCounter, warnings: FaultCounter) -> Iterator[TarSample]:
    """Group adjacent members of one key, as webdataset, DALI and Energon do.

    Links, devices, FIFOs, names that lead out of the folder, repeated members and keys that come back later are faults;
    files without key or extension are warnings; folders are passed over. Nothing of these becomes part of a sample.
    """
    seen: set[str] = set()
    key = ""
    sample: list[tuple[str, TarMember]] = []
    for member in members:
        parts = _sample_parts(member, faults, warnings)
        if parts is None:
            continue
        if parts[0] != key:
            if sample:
                yield TarSample(key, sample)
            key, sample = parts[0], []
            if key in seen:
                faults.add("key", f"key {key!r} comes twice; the members of a sample must be adjacent, keys unique")
            seen.add(key)
        elif any(parts[1] == extension for extension, _ in sample):
            faults.add("member", f"member {member.name!r} comes twice")
            continue
        sample.append((parts[1], member))
    if sample:
        yield TarSample(key, sample)


def _sample_parts(member: TarMember, faults: FaultCounter, warnings: FaultCounter) -> tuple[str, str] | None:
    if member.type in _TYPES:
        faults.add("type", f"member {member.name!r} is {_TYPES[member.type]}, not a file")
        return None
    if member.name.startswith("/") or ".." in member.name.split("/"):
        faults.add("path", f"member {member.name!r} leads out of the folder it would be unpacked in")
        return None
    if member.type != "0":
        return None
    parts = split_name(member.name)
    base = member.name.rsplit("/", 1)[-1]
    if parts is None or (base.startswith("__") and base.endswith("__")):
        warnings.add("name", f"member {member.name!r} has no key or no extension and belongs to no sample")
        return None
    return parts
