"""MDS, the shard format of mosaicml-streaming (version 2): writing one shard, the index of its split, reading both.

A shard is ``uint32 samples | uint32 offset of each sample and of the end | JSON of the columns | samples``, a sample
``uint32 length of each column | their bytes``, columns in the order of their names. The columns here are the members
that the sample has in a tar, by their extensions, and ``key``. The index of a folder names its shards, with the sha256
that a trainer may have checked (``validate_hash="sha256"``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.publish import FileSum, publish_bytes, publishing, sync_folder
from pairmill.sharding.shard import CAPTION_EXTENSION, IMAGE_EXTENSIONS, RECORD_EXTENSION, MemberSample, ShardInfo
from pairmill.sharding.tar import ByteSink

#: In a dataset, the folder with a folder of shards for each split: what ``StreamingDataset`` is given as ``local``.
FOLDER = "mds"
SUFFIX = ".mds"
INDEX_NAME = "index.json"
#: The column that holds a sample's key; no member may be called so.
KEY = "key"
#: Offsets are 32 bits.
MAX_SHARD_BYTES = 2**32 - 1

#: How mosaicml-streaming decodes a column: images to Pillow's, text, JSON; all else stays bytes.
_ENCODINGS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "txt": "str", "json": "json", KEY: "str"}
_OFFSET = np.dtype("<u4")


class MdsError(PairmillError):
    """A shard or an index of this format that cannot be read; one line that names the file and what is wrong."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(path, what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.args[0]} {self.what}"


@dataclass(frozen=True)
class MdsColumns:
    """The columns of a shard: name to encoding, in the order of the names."""

    encodings: dict[str, str]
    #: Bytes of a column in every sample; None where it varies.
    sizes: tuple[int | None, ...] = ()

    @classmethod
    def of_members(cls, extensions: Iterable[str]) -> MdsColumns:
        """The columns of samples with these members; raises ValueError for a member called ``key``."""
        found = list(extensions)
        if KEY in found:
            raise ValueError(
                f"a member .{KEY} has no place in MDS shards: a column of that name holds the sample's key"
            )
        return cls({name: _ENCODINGS.get(name, "bytes") for name in sorted([*found, KEY])})

    @property
    def extensions(self) -> tuple[str, ...]:
        """The members of a sample: all columns but the key."""
        return tuple(name for name in self.encodings if name != KEY)

    @property
    def ours(self) -> bool:
        """Whether these are columns as this module writes them: members of samples, each with its key."""
        return KEY in self.encodings and self == MdsColumns.of_members(self.extensions)

    def config(self) -> dict[str, Any]:
        """What a shard and each entry of an index tell of them, as mosaicml-streaming's writer does."""
        return {
            "column_encodings": list(self.encodings.values()),
            "column_names": list(self.encodings),
            "column_sizes": list(self.sizes) or [None] * len(self.encodings),
            "compression": None,
            "format": "mds",
            "hashes": ["sha256"],
            "size_limit": None,
            "version": 2,
        }

    @classmethod
    def of_config(cls, told: Mapping[str, Any]) -> MdsColumns:
        """The inverse of ``config``; raises KeyError, TypeError or ValueError for another format or version."""
        if told["format"] != "mds" or told["version"] != 2:
            raise ValueError(f"is of format {told['format']!r}, version {told['version']!r}, not mds, version 2")
        if told["compression"] is not None:
            raise ValueError("is compressed, and such shards are not read here")
        names, encodings, sizes = (told[f"column_{what}"] for what in ("names", "encodings", "sizes"))
        if not len(names) == len(encodings) == len(sizes) or any(size is not None and size < 1 for size in sizes):
            raise ValueError("has columns that do not belong together")
        fixed = tuple(None if size is None else int(size) for size in sizes)
        columns = {str(name): str(encoding) for name, encoding in zip(names, encodings, strict=True)}
        return cls(columns, fixed if any(size is not None for size in fixed) else ())

    def _header(self, payloads: Sequence[int]) -> bytes:
        """All that stands before the samples, whose column bytes are ``payloads`` long."""
        config = json.dumps(self.config(), sort_keys=True).encode("ascii")
        lengths = np.asarray(payloads, dtype=np.int64) + _OFFSET.itemsize * len(self.encodings)
        first = _OFFSET.itemsize * (len(lengths) + 2) + len(config)
        offsets = first + np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        if offsets[-1] > MAX_SHARD_BYTES:
            raise ValueError(f"would have {offsets[-1]:,} bytes, and MDS holds {MAX_SHARD_BYTES:,}; plan more shards")
        return np.array([len(lengths)], dtype=_OFFSET).tobytes() + offsets.astype(_OFFSET).tobytes() + config


def payload_bytes(key: str, sizes: Iterable[int]) -> int:
    """What a sample with this key and members of these sizes takes in a shard, beside the lengths of its columns."""
    return len(key.encode("utf-8", "replace")) + sum(sizes)


def mds_bytes(extensions: Iterable[str], payloads: Sequence[int]) -> int:
    """The exact size in bytes of the shard of these samples; raises ValueError beyond 4 GiB."""
    columns = MdsColumns.of_members(extensions)
    return len(columns._header(payloads)) + sum(payloads) + _OFFSET.itemsize * len(columns.encodings) * len(payloads)


class MdsAppender:
    """Writes one shard to ``sink``, in one go: what each sample takes is told before the first one is given."""

    def __init__(self, sink: ByteSink, columns: MdsColumns, payloads: Sequence[int]) -> None:
        """Raises ValueError for no samples, and for more than 4 GiB of them."""
        if not len(payloads):
            raise ValueError("has no samples; plan fewer shards")
        self._sink, self._columns, self._payloads = sink, columns, payloads
        self.samples = 0
        sink.write(columns._header(payloads))

    def add(self, sample: MemberSample) -> None:
        """Write one sample; raises ValueError for other members or another length than was told."""
        members = {KEY: sample.key.encode("ascii"), **dict(sample.members)}
        if sorted(members) != list(self._columns.encodings) or len(members) != len(sample.members) + 1:
            has = " ".join(extension for extension, _ in sample.members)
            raise ValueError(
                f"sample {sample.key} has the members {has}, the first one has {' '.join(self._columns.extensions)}; "
                "MDS has the same columns in all"
            )
        values = [members[name] for name in self._columns.encodings]
        lengths = np.array([len(value) for value in values], dtype=_OFFSET)
        if self.samples >= len(self._payloads) or int(lengths.sum()) != self._payloads[self.samples]:
            raise ValueError(f"sample {sample.key} is not of the length that was told of it before")
        self._sink.write(lengths.tobytes())
        for value in values:
            self._sink.write(value)
        self.samples += 1

    def close(self) -> None:
        """Raises ValueError where fewer samples came than were told."""
        if self.samples != len(self._payloads):
            raise ValueError(f"has {self.samples} samples, {len(self._payloads)} were told")


@contextmanager
def publishing_mds(
    path: Path, extensions: Iterable[str], payloads: Sequence[int], files: list[FileSum]
) -> Iterator[MdsAppender]:
    """Open a shard, which appears as ``path`` when the block ends without an error; ``files`` then gets its sum.

    Its name there is relative to the folder that holds the ``mds`` folder. Raises ValueError, which names the shard.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with publishing(path) as writer:
            appender = MdsAppender(writer, MdsColumns.of_members(extensions), payloads)
            yield appender
            appender.close()
    except ValueError as error:
        raise ValueError(f"shard {path.name}: {error}") from error
    sync_folder(path.parent)
    files.append(FileSum(f"{FOLDER}/{path.parent.name}/{path.name}", writer.bytes_written, writer.hexdigest()))


def write_mds_index(folder: Path, split: str, shards: Sequence[ShardInfo]) -> FileSum:
    """Write the index of a split's shards, which tells their order, sizes and sums."""
    entries = [
        {
            **MdsColumns.of_members(shard.extensions).config(),
            "raw_data": {"basename": Path(file.name).name, "bytes": file.bytes, "hashes": {"sha256": file.sha256}},
            "samples": shard.samples,
            "zip_data": None,
        }
        for shard in shards
        if (file := shard.mds) is not None
    ]
    data = json.dumps({"shards": entries, "version": 2}, sort_keys=True).encode("ascii")
    return publish_bytes(folder / FOLDER / split / INDEX_NAME, data, folder)


@dataclass(frozen=True, eq=False)
class MdsFile:
    """A shard as its header tells it: its columns, and uint64 (samples, 2), where each sample starts and ends."""

    path: Path
    columns: MdsColumns
    places: npt.NDArray[np.uint64]
    bytes: int


def open_mds(path: Path) -> MdsFile:
    """Read a shard's header; raises MdsError for one that is damaged or of another kind, OSError for no file."""
    with open(path, "rb") as file:
        size = path.stat().st_size
        count = _numbers(file.read(_OFFSET.itemsize))
        if not len(count) or not 1 <= int(count[0]) <= size // _OFFSET.itemsize - 2:
            raise MdsError(path, "is no MDS shard: its number of samples cannot be")
        offsets = _numbers(file.read(_OFFSET.itemsize * (int(count[0]) + 1))).astype(np.uint64)
        if file.tell() > int(offsets[0]) or (offsets[1:] < offsets[:-1]).any():
            raise MdsError(path, "is no MDS shard: its offsets are not in order")
        if int(offsets[-1]) != size:
            raise MdsError(path, f"has {size:,} bytes, its header says {int(offsets[-1]):,}: it is cut off or damaged")
        config = file.read(int(offsets[0]) - file.tell())
    try:
        columns = MdsColumns.of_config(json.loads(config))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, ValueError) and str(error).startswith(("is ", "has ")) else ""
        raise MdsError(path, told or "is no MDS shard: its header tells no columns") from error
    return MdsFile(path, columns, np.stack([offsets[:-1], offsets[1:]], axis=1), size)


def sample_columns(shard: MdsFile, head: bytes, size: int) -> list[tuple[str, int, int]]:
    """Name, offset and size of each column of a sample of ``size`` bytes that begins with ``head``; raises MdsError.

    ``head`` is ``head_bytes`` or more of it.
    """
    columns = shard.columns
    sizes = columns.sizes or (None,) * len(columns.encodings)
    varying = _OFFSET.itemsize * sizes.count(None)
    told = iter(_numbers(head[:varying]).tolist())
    at, found = varying, []
    for name, fixed in zip(columns.encodings, sizes, strict=True):
        length = next(told, 0) if fixed is None else fixed
        found.append((name, at, length))
        at += length
    if at != size:
        raise MdsError(shard.path, f"has a sample whose columns take {at:,} bytes, its offsets say {size:,}")
    return found


def head_bytes(shard: MdsFile) -> int:
    """How many bytes of a sample ``sample_columns`` needs to see."""
    return _OFFSET.itemsize * len(shard.columns.encodings)


def mds_sample(shard: MdsFile, data: bytes) -> MemberSample:
    """The sample that ``data`` is, of a shard with columns of ours; raises MdsError."""
    view = memoryview(data)
    members = {name: view[at : at + size] for name, at, size in sample_columns(shard, data, len(data))}
    try:
        key = bytes(members.pop(KEY)).decode("ascii")
    except (KeyError, UnicodeDecodeError) as error:
        raise MdsError(shard.path, f"has a sample without a {KEY} in ASCII") from error
    return MemberSample(key, [(name, members[name]) for name in sorted(members, key=_order_in_tar)])


def check_decodes(sample: MemberSample) -> None:
    """Raise ValueError for a member that the reader cannot decode: it would end a training run."""
    for extension, value in sample.members:
        encoding = _ENCODINGS.get(extension)
        try:
            if encoding == "str":
                str(value, "utf-8")
            elif encoding == "json":
                json.loads(bytes(value))
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"sample {sample.key}: its .{extension} is not {'JSON' if encoding == 'json' else 'UTF-8'}, and "
                "mosaicml-streaming would end there; leave it out (--without)"
            ) from error


def _order_in_tar(extension: str) -> tuple[int, str]:
    """Image, caption, record, then whatever else there is: columns are sorted, members of a tar are not."""
    first = (*IMAGE_EXTENSIONS, "jpeg", CAPTION_EXTENSION, RECORD_EXTENSION)
    return (first.index(extension) if extension in first else len(first), extension)


def find_mds(folder: Path) -> tuple[Path, ...]:
    """The MDS shards of a dataset, or of anyone's folder with or without splits, in order."""
    for pattern in (f"{FOLDER}/*/*{SUFFIX}", f"*{SUFFIX}", f"*/*{SUFFIX}"):
        if found := sorted(folder.glob(pattern)):
            return tuple(found)
    return ()


def as_member(column: str, encoding: str) -> str:
    """The extension that a column of anyone's shards has in a tar, where its encoding or name tells it."""
    if encoding in ("jpeg", "png") and column not in (*IMAGE_EXTENSIONS, "jpeg"):
        return "png" if encoding == "png" else "jpg"
    if encoding == "str" and column in ("caption", "text"):
        return CAPTION_EXTENSION
    return column


def mds_label(path: Path) -> str:
    """The name of a shard's file in its dataset: ``mds/train/train-00000-of-00008.mds``, elsewhere the file's own."""
    return f"{FOLDER}/{path.parent.name}/{path.name}" if path.parent.parent.name == FOLDER else path.name


def _numbers(data: bytes) -> npt.NDArray[np.uint32]:
    return np.frombuffer(data[: len(data) // _OFFSET.itemsize * _OFFSET.itemsize], dtype=_OFFSET)
