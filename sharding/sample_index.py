"""The two indexes that lie beside each tar: where its samples are, for DALI and for Energon.

DALI: a text file, ``v1.2 COUNT`` and then a line for each sample of ``EXT OFFSET SIZE NAME`` for each of its members,
as ``tools/wds2idx.py`` of DALI writes it; offsets are those of the data. Energon: little-endian unsigned 64-bit offsets
of each sample's first header, then the offset where the last sample ends, as ``energon prepare`` of Energon 7 does.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

DALI_VERSION = "v1.2"


class IndexedMember(NamedTuple):
    """A member as DALI's index knows it: all after the first dot of its name, data offset and data size in bytes."""

    extension: str
    data_offset: int
    size: int
    name: str


def dali_index_name(tar_name: str) -> str:
    """``train-00000-of-00008.idx`` for ``train-00000-of-00008.tar``: wds2idx cuts at the first dot."""
    return tar_name[: tar_name.find(".", 1)] + ".idx"


def energon_index_name(tar_name: str) -> str:
    """``train-00000-of-00008.tar.idx`` for ``train-00000-of-00008.tar``."""
    return tar_name + ".idx"


def dali_index(samples: Sequence[Sequence[IndexedMember]]) -> bytes:
    """The content of DALI's index for samples in tar order."""
    lines = [f"{DALI_VERSION} {len(samples)}"]
    lines += [" ".join(f"{m.extension} {m.data_offset} {m.size} {m.name}" for m in sample) for sample in samples]
    return ("\n".join(lines) + "\n").encode("ascii", "surrogateescape")


def energon_index(starts: Sequence[int], end: int) -> bytes:
    """The content of Energon's index: ``starts`` are the samples' header offsets, ``end`` where the last ends."""
    return struct.pack(f"<{len(starts) + 1}Q", *starts, end)
