"""Where samples lie, in tars as webdataset, img2dataset and pairmill write them; others take the long way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pairmill.sharding.plain_tar import MAGIC, check_pax, mapped, plain_tar
from pairmill.sharding.shard import MemberSample
from pairmill.sharding.shard_scan import json_value
from pairmill.sharding.tar import BLOCK_BYTES, padding

_FILE, _PAX = ord("0"), ord("x")


@dataclass
class QuickScan:
    """Of each sample: ``places``, uint64 (samples, 2), start and end; its key; if asked for, the uid in its json."""

    places: npt.NDArray[np.uint64]
    keys: list[str]
    uids: list[str | None]


def quick_scan(path: Path, uids: bool = False) -> QuickScan | None:
    """Look at every header of a tar; with ``uids`` read the json members too.

    None for a tar that is damaged, or with anything in it but files of plain names, the members of each sample side by
    side: ``walk_tar`` and ``group_samples`` then tell what.
    """
    try:
        with mapped(path) as tar:
            found = plain_tar(tar)
            named: list[str | None] = [None] * len(found.keys) if uids else []
            records = found.members_named("json") if uids else np.empty(0, dtype=np.int64)
            places = zip(found.data[records].tolist(), found.sizes[records].tolist(), strict=True)
            for sample, (start, size) in zip(found.sample[records].tolist(), places, strict=True):
                named[sample] = uid_in(tar[start : start + size])
            return QuickScan(found.places, found.keys, named)
    except (OSError, ValueError, IndexError):  # not a file, or an empty one; a header past the end
        return None


def plain_sample(data: bytes) -> MemberSample | None:
    """The sample in a range of a tar that ``quick_scan`` could read; None for any other."""
    view = memoryview(data)
    found: list[tuple[str, memoryview]] = []
    key, at = b"", 0
    try:
        while at < len(data):
            base, extension, size = _plain_member(data[at : at + 346])
            start = at + BLOCK_BYTES
            at = start + size + padding(size)
            if not base:
                check_pax(data[start : start + size])
                continue
            if (found and base != key) or start + size > len(data):
                return None
            key = base
            found.append((extension.decode("ascii"), view[start : start + size]))
        return MemberSample(key.decode("ascii"), found) if found else None
    except ValueError:
        return None


def plain_sizes(read_at: Callable[[int, int], bytes], start: int, end: int) -> tuple[str, list[tuple[str, int]]] | None:
    """Key, and extension and size of each member, of the sample in a range of a tar; None where it is not plain.

    ``read_at`` is given bytes and offset; headers alone are read.
    """
    found: list[tuple[str, int]] = []
    key, at = b"", start
    try:
        while at < end:
            base, extension, size = _plain_member(read_at(346, at))
            if not base or (found and base != key):
                return None
            key = base
            found.append((extension.decode("ascii"), size))
            at += BLOCK_BYTES + size + padding(size)
        return (key.decode("ascii"), found) if found else None
    except ValueError:
        return None


def _plain_member(header: bytes) -> tuple[bytes, bytes, int]:
    """Key, extension and size of a file, or "", "" and the size of a PAX header; raises ValueError for others."""
    if header[257:265] not in MAGIC or len(header) < 346:
        raise ValueError("no header of a plain file")
    size = int(header[124:135], 8)
    if header[156] == _PAX:
        return b"", b"", size
    base, dot, extension = header[:100].rstrip(b"\0").partition(b".")
    if header[156] != _FILE or header[345] or not base or not dot or b"/" in base or base[:2] == b"__":
        raise ValueError("no file of a plain name")
    return base, extension, size


def uid_in(record: bytes) -> str | None:
    """The ``uid`` of a json member, as DataComp's and img2dataset's shards have it; None where there is none."""
    value = json_value(record)
    uid = value.get("uid") if isinstance(value, dict) else None
    return None if uid is None else str(uid)
