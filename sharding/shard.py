"""Writing one shard: a tar of samples with both of its indexes, each byte hashed on its way to the disk.

A sample is the members ``KEY.jpg KEY.txt KEY.json``, always all three, always in this order. The rules that names must
keep are the intersection of what trainers' readers accept; `check_key` lists them with the reader that each is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pairmill.sharding.publish import FileSum, publish_bytes, publishing, sync_folder
from pairmill.sharding.sample_index import IndexedMember, dali_index, energon_index
from pairmill.sharding.tar import TarAppender

#: open_clip's default image keys; one per dataset, because trainers name one.
IMAGE_EXTENSIONS = ("jpg", "png", "webp")
CAPTION_EXTENSION = "txt"
RECORD_EXTENSION = "json"

_KEY = re.compile(r"[!-\-0-~]+", re.ASCII)  # printable ASCII but space, dot and slash
_EXTENSION = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)
_SHARD_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class ShardSample(NamedTuple):
    """One sample as it will lie in a shard: image bytes in the format of ``image_ext``, caption, encoded record."""

    key: str
    image: bytes | bytearray | memoryview
    image_ext: str
    caption: str
    record: bytes


class MemberSample(NamedTuple):
    """One sample as it will lie in a shard: its members in order, as (extension, data)."""

    key: str
    members: Sequence[tuple[str, bytes | bytearray | memoryview]]


@dataclass(frozen=True)
class ShardInfo:
    """What is known of a written shard: all that the dataset's indexes and manifest need, without reading it again.

    No md5, though wids' index has a place for one: wids checks it only when asked, and md5 would cost more than all the
    rest of the writing (835 MiB/s against sha256's 1,951 on one core).
    """

    name: str  # without .tar
    samples: int
    bytes: int  # of the tar; 0 where there is none
    sha256: str  # of the tar
    indexes: tuple[FileSum, ...]  # Energon's and DALI's
    mds: FileSum | None = None  # the same samples for mosaicml-streaming
    extensions: tuple[str, ...] = ()  # of the members of each sample, where there is ``mds``

    @property
    def tar_name(self) -> str:
        """The file name of the tar."""
        return f"{self.name}.tar"

    @property
    def has_tar(self) -> bool:
        """Whether it is a tar, perhaps beside being MDS."""
        return self.bytes > 0

    @property
    def stored_bytes(self) -> int:
        """Of the tar, or of the MDS file where that is all."""
        return self.bytes if self.has_tar or self.mds is None else self.mds.bytes

    @property
    def files(self) -> tuple[FileSum, ...]:
        """The tar and its indexes, and the MDS file."""
        tar = (FileSum(self.tar_name, self.bytes, self.sha256),) if self.has_tar else ()
        return (*tar, *self.indexes, *((self.mds,) if self.mds is not None else ()))

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return {
            "name": self.name,
            "samples": self.samples,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "indexes": [index.to_dict() for index in self.indexes],
            **({"mds": self.mds.to_dict(), "extensions": list(self.extensions)} if self.mds is not None else {}),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ShardInfo:
        """The inverse of ``to_dict``; raises KeyError for a missing field."""
        return cls(
            name=str(data["name"]),
            samples=int(data["samples"]),
            bytes=int(data["bytes"]),
            sha256=str(data["sha256"]),
            indexes=tuple(FileSum.from_dict(index) for index in data["indexes"]),
            mds=FileSum.from_dict(data["mds"]) if "mds" in data else None,
            extensions=tuple(data.get("extensions", ())),
        )


def check_key(key: str) -> None:
    """Raise ValueError for a key that some trainer's reader cannot take.

    ASCII without spaces (DALI), no dot (all readers split there), no slash, not ``__x__`` (webdataset skips those), and
    short enough that ``KEY.json`` fits the 100-byte name field (wids reads no other).
    """
    if not _KEY.fullmatch(key) or len(key) > 95 or (key.startswith("__") and key.endswith("__")):
        raise ValueError(
            f"sample key {key[:120]!r} must be 1 to 95 printable ASCII characters, no space, dot or slash, not __x__"
        )


def write_shard(path: Path, samples: Iterable[ShardSample]) -> ShardInfo:
    """Write ``PATH.tar``, ``PATH.tar.idx`` (Energon) and ``PATH.idx`` (DALI), each whole or not at all.

    ``path`` has no suffix. Equal samples give equal bytes, so a retry or a second writer of the shard does no harm.
    Captions are written as UTF-8; half a surrogate pair, which UTF-8 cannot hold, becomes a question mark.

    Raises ValueError for no samples at all (no reader takes an empty shard), a bad or repeated key, an unknown or
    changing image extension, and a shard name that is not letters, digits, ``-`` and ``_``; OSError when the disk is
    full. The tar appears first; a shard counts as written when this function has returned.
    """
    return write_members(path, members_of(samples, path.name))


def write_members(path: Path, samples: Iterable[MemberSample]) -> ShardInfo:
    """As ``write_shard``, for samples of any members: those of other people's shards.

    Raises ValueError also for a sample without members, and for an extension that comes twice in one or is no word.
    """
    check_shard_name(path.name)
    tar_path = path.with_name(f"{path.name}.tar")
    with publishing(tar_path) as writer:
        tar = TarAppender(writer)
        placed = [
            tuple(_append(tar, sample.key, extension, data) for extension, data in sample.members)
            for sample in checked_samples(samples, path.name)
        ]
        end = tar.close()
    starts = [sample[0].data_offset - 512 for sample in placed]
    indexes = (
        publish_bytes(path.with_name(f"{path.name}.tar.idx"), energon_index(starts, end)),
        publish_bytes(path.with_name(f"{path.name}.idx"), dali_index(placed)),
    )
    sync_folder(path.parent)
    return ShardInfo(path.name, len(placed), writer.bytes_written, writer.hexdigest(), indexes)


def check_shard_name(name: str) -> None:
    """Raise ValueError for a name that some reader cannot take."""
    if not _SHARD_NAME.fullmatch(name):
        raise ValueError(f"shard name {name!r} must be letters, digits, - and _ (DALI cuts names at a dot)")


def members_of(samples: Iterable[ShardSample], shard: str) -> Iterator[MemberSample]:
    """The samples of a shard as their members; raises ValueError for an unknown or changing image extension."""
    image_ext = ""
    for sample in samples:
        if sample.image_ext != image_ext:
            if image_ext or sample.image_ext not in IMAGE_EXTENSIONS:
                raise ValueError(
                    f"shard {shard}, key {sample.key}: image extension {sample.image_ext!r}; "
                    f"a dataset has one of {', '.join(IMAGE_EXTENSIONS)} throughout"
                )
            image_ext = sample.image_ext
        members = (
            (image_ext, sample.image),
            (CAPTION_EXTENSION, sample.caption.encode("utf-8", "replace")),
            (RECORD_EXTENSION, sample.record),
        )
        yield MemberSample(sample.key, members)


def checked_samples(samples: Iterable[MemberSample], shard: str) -> Iterator[MemberSample]:
    """The samples as they are; raises ValueError for none, and for one that ``write_members`` refuses."""
    seen: set[str] = set()
    extensions: Sequence[str] = ()
    for sample in samples:
        check_key(sample.key)
        if sample.key in seen:
            raise ValueError(f"shard {shard} is given the key {sample.key!r} twice")
        seen.add(sample.key)
        found = [extension for extension, _ in sample.members]
        if found != extensions:
            _check_extensions(found, sample.key, shard)
            extensions = found
        yield sample
    if not seen:
        raise ValueError(f"shard {shard} has no samples; plan fewer shards")


def _check_extensions(extensions: Sequence[str], key: str, shard: str) -> None:
    if not extensions or len(set(extensions)) != len(extensions) or not all(map(_EXTENSION.fullmatch, extensions)):
        raise ValueError(
            f"shard {shard}, key {key}: members {' '.join(map(repr, extensions)) or 'none'}; a sample has at least "
            "one, each extension once, of letters, digits, _, - and dots"
        )


def _append(tar: TarAppender, key: str, extension: str, data: bytes | bytearray | memoryview) -> IndexedMember:
    name = f"{key}.{extension}"
    return IndexedMember(extension, tar.add(name, data), len(data), name)
