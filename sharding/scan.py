"""What one shard holds, found by its headers and, where no metadata tells it, by captions and image headers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pairmill.sharding.fault import FaultCounter
from pairmill.sharding.image_header import image_size
from pairmill.sharding.mds import KEY, MdsError, as_member, head_bytes, mds_label, open_mds, sample_columns
from pairmill.sharding.mds import SUFFIX as MDS_SUFFIX
from pairmill.sharding.plain_scan import scan_plain
from pairmill.sharding.samples import TarSample, group_samples
from pairmill.sharding.shard_scan import IMAGE_MEMBERS, TEXT_LIMIT_BYTES, Records, ShardScan, first_text
from pairmill.sharding.tar import DamagedTarError, TarMember, walk_tar


def scan_shard(path: Path, contents: bool) -> ShardScan:
    """Walk one shard; with ``contents``, also read each sample's caption, record and image header.

    Never raises for what is in the file: damage is a fault in the result, with what came before it counted.
    """
    if path.suffix == MDS_SUFFIX:
        return _mds(path, contents)
    try:
        return scan_plain(path, contents)
    except (OSError, ValueError, IndexError):
        return _thorough(path, contents)


def _mds(path: Path, contents: bool) -> ShardScan:
    """The scan of an MDS shard of any columns: images, texts and records are known by their encoding or name."""
    scan = ShardScan(mds_label(path))
    faults, warnings = FaultCounter(scan.file), FaultCounter(scan.file)
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        scan.bytes = os.fstat(descriptor).st_size
        shard = open_mds(path)
        read = _Contents(lambda length, offset: os.pread(descriptor, length, offset), scan, warnings)
        seen: set[str] = set()
        for number, (start, end) in enumerate(shard.places.tolist()):
            head = os.pread(descriptor, head_bytes(shard), start)
            placed = {name: (start + at, size) for name, at, size in sample_columns(shard, head, end - start)}
            at, size = placed.pop(KEY, (0, 0))
            key = os.pread(descriptor, size, at).decode("utf-8", "replace") if size else f"{number}"
            if key in seen:
                faults.add("key", f"key {key!r} comes twice")
            seen.add(key)
            members = [
                (as_member(name, shard.columns.encodings[name]), TarMember(f"{key}.{name}", at, at, size, "0"))
                for name, (at, size) in placed.items()
            ]
            read.add(TarSample(key, members), contents)
    except MdsError as error:
        faults.add("damage", error.what)
    except OSError as error:
        faults.add("unreadable", f"cannot be read: {error.strerror}")
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    scan.faults, scan.warnings = faults.faults(), warnings.faults()
    return scan


def _thorough(path: Path, contents: bool) -> ShardScan:
    scan = ShardScan(path.name)
    faults, warnings = FaultCounter(path.name), FaultCounter(path.name)
    descriptor = -1
    try:
        scan.bytes = path.stat().st_size
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        read = _Contents(lambda length, offset: os.pread(descriptor, length, offset), scan, warnings)
        for sample in group_samples(walk_tar(path), faults, warnings):
            read.add(sample, contents)
        if not scan.keys:
            faults.add("empty", "holds no samples; trainers cannot read an empty shard")
    except DamagedTarError as error:
        faults.add("damage", f"at byte {error.offset}: {error.what}")
    except OSError as error:
        faults.add("unreadable", f"cannot be read: {error.strerror}")
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    scan.faults, scan.warnings = faults.faults(), warnings.faults()
    return scan


class _Contents:
    """Adds samples to a scan; reads members of one tar by their places."""

    def __init__(self, read_at: Callable[[int, int], bytes], scan: ShardScan, warnings: FaultCounter) -> None:
        self._read_at, self._scan, self._warnings = read_at, scan, warnings  # (bytes, offset)
        self._records = Records(scan, warnings)

    def add(self, sample: TarSample, contents: bool) -> None:
        """Count a sample, and describe it where its contents are wanted."""
        self._scan.keys.append(sample.key)
        for extension, _ in sample.members:
            self._scan.members[extension] += 1
        image = next((m for extension, m in sample.members if extension.lower() in IMAGE_MEMBERS), None)
        if image is not None:
            self._scan.image_bytes.append(image.size)
        if contents:
            self._describe(sample, image)

    def _describe(self, sample: TarSample, image: TarMember | None) -> None:
        members, record = dict(sample.members), {}
        if "json" in members:
            record = self._records.read(self._read(members["json"], 0, TEXT_LIMIT_BYTES), sample.key)
            self._scan.languages[first_text(record, "lang", "language") or ""] += 1
        caption = self._caption(members.get("txt"))
        if caption is None:
            caption = first_text(record, "caption", "text")
        if caption is not None:
            self._scan.caption_lengths.append(len(caption))
        if image is not None:
            size = image_size(lambda offset, length: self._read(image, offset, length))
            if size:
                self._scan.widths.append(size[0])
                self._scan.heights.append(size[1])
            else:
                self._warnings.add("image", f"image {image.name!r} has no readable JPEG, PNG or WebP header")

    def _read(self, member: TarMember, offset: int, length: int) -> bytes:
        length = min(length, member.size - offset)
        return self._read_at(length, member.data_offset + offset) if length > 0 else b""

    def _caption(self, member: TarMember | None) -> str | None:
        if member is None:
            return None
        try:
            return self._read(member, 0, TEXT_LIMIT_BYTES).decode("utf-8")
        except UnicodeDecodeError:
            self._warnings.add("caption", f"caption {member.name!r} is not UTF-8")
            return None
