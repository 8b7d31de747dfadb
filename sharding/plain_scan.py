"""The scan of a tar with nothing but plain samples in it, by members of a kind and not by samples."""

from __future__ import annotations

import mmap
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pairmill.sharding.fault import FaultCounter
from pairmill.sharding.image_header import image_size
from pairmill.sharding.image_headers import jpeg_sizes
from pairmill.sharding.plain_tar import Numbers, PlainTar, mapped, plain_tar
from pairmill.sharding.shard_scan import IMAGE_MEMBERS, TEXT_LIMIT_BYTES, Records, ShardScan, first_text


def scan_plain(path: Path, contents: bool) -> ShardScan:
    """As ``scan_shard``; raises OSError, ValueError or IndexError for a tar that has to take the long way."""
    scan, warnings = ShardScan(path.name), FaultCounter(path.name)
    with mapped(path) as tar:
        found = plain_tar(tar)
        if not found.keys:
            raise ValueError("no samples")
        scan.bytes, scan.keys = len(tar), found.keys
        counts = np.bincount(found.extension, minlength=len(found.extensions)).tolist()
        scan.members = Counter(dict(zip(found.extensions, counts, strict=True)))
        images = _images(found)
        scan.image_bytes = array("q", found.sizes[images].tobytes())
        if contents:
            _Contents(tar, found, scan, warnings).describe(images)
    scan.warnings = warnings.faults()
    return scan


def _images(found: PlainTar) -> Numbers:
    """The number of the first image among the members of each sample that has one."""
    pictured = np.array([extension.lower() in IMAGE_MEMBERS for extension in found.extensions], dtype=bool)
    members = np.flatnonzero(pictured[found.extension])
    return members[np.unique(found.sample[members], return_index=True)[1]]


class _Contents:
    """Reads what samples hold, a kind of members after another."""

    def __init__(self, tar: mmap.mmap, found: PlainTar, scan: ShardScan, warnings: FaultCounter) -> None:
        self._tar, self._found, self._scan, self._warnings = tar, found, scan, warnings
        self._sample = found.sample

    def describe(self, images: Numbers) -> None:
        """Lengths of captions, languages, the keys of records, sizes of images."""
        lengths = [-1] * len(self._found.keys)  # of captions in characters, -1 where there is none
        self._captions(lengths)
        self._records(lengths)
        self._scan.caption_lengths = array("q", [length for length in lengths if length >= 0])
        self._sizes(images)

    def _captions(self, lengths: list[int]) -> None:
        tar = self._tar
        for sample, start, size in self._members("txt"):
            try:
                lengths[sample] = len(tar[start : start + size].decode())
            except UnicodeDecodeError:
                name = f"{self._found.keys[sample]}.txt"
                self._warnings.add("caption", f"caption {name!r} is not UTF-8")

    def _records(self, lengths: list[int]) -> None:
        tar, keys, records = self._tar, self._found.keys, Records(self._scan, self._warnings)
        languages = self._scan.languages
        for sample, start, size in self._members("json"):
            record = records.read(tar[start : start + size], keys[sample])
            if lengths[sample] < 0 and (caption := first_text(record, "caption", "text")) is not None:
                lengths[sample] = len(caption)
            language = record.get("lang")
            languages[language if isinstance(language, str) else first_text(record, "language") or ""] += 1

    def _members(self, extension: str) -> Iterator[tuple[int, int, int]]:
        """Sample, offset of the data, and at most ``TEXT_LIMIT_BYTES`` of it, of the members of an extension."""
        members = self._found.members_named(extension)
        sizes = np.minimum(self._found.sizes[members], TEXT_LIMIT_BYTES)
        return zip(self._sample[members].tolist(), self._found.data[members].tolist(), sizes.tolist(), strict=True)

    def _sizes(self, images: Numbers) -> None:
        starts, sizes = self._found.data[images], self._found.sizes[images]
        measured = jpeg_sizes(self._tar, starts, sizes)
        for place in np.flatnonzero(measured[:, 0] == 0).tolist():
            size = self._size(int(starts[place]), int(sizes[place]))
            if size is None:
                member = int(images[place])
                extension = self._found.extensions[self._found.extension[member]]
                name = f"{self._found.keys[self._sample[member]]}.{extension}"
                self._warnings.add("image", f"image {name!r} has no readable JPEG, PNG or WebP header")
            else:
                measured[place] = size
        measured = measured[measured[:, 0] > 0]
        self._scan.widths = array("q", measured[:, 0].tobytes())
        self._scan.heights = array("q", measured[:, 1].tobytes())

    def _size(self, start: int, size: int) -> tuple[int, int] | None:
        end = start + size
        return image_size(lambda offset, length: self._tar[start + offset : min(start + offset + length, end)])
