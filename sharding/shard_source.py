"""Shards to take samples from: a pairmill dataset of tars or MDS, or anyone's folder of WebDataset tars."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.fault import FaultCounter
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, ManifestError, read_manifest
from pairmill.sharding.mds import KEY, SUFFIX, MdsError, MdsFile, find_mds, mds_sample, open_mds
from pairmill.sharding.metadata import FOLDER
from pairmill.sharding.quick_scan import plain_sample, plain_sizes, quick_scan, uid_in
from pairmill.sharding.sample_index import energon_index_name
from pairmill.sharding.samples import group_samples
from pairmill.sharding.shard import MemberSample
from pairmill.sharding.statistics import split_of
from pairmill.sharding.tar import BLOCK_BYTES, DamagedTarError, walk_members, walk_tar

#: Of shards whose names tell of no split, as everybody's but Hugging Face's.
TRAIN = "train"

Offsets = npt.NDArray[np.uint64]


class SourceShard(NamedTuple):
    """A shard: its name without .tar or .mds, its split, the size of its file in bytes."""

    name: str
    split: str
    bytes: int


class ShardSource:
    """The shards of a folder, in order, and where their samples lie.

    Tars are read where there are any, else MDS with columns as pairmill writes them. Raises UsageError for a folder
    without either, and for a dataset that was not finished.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder; name the folder of a dataset or of .tar files")
        if (folder / "dataset").is_dir() and not any(folder.glob("*.tar")) and not find_mds(folder):
            folder /= "dataset"
        self.folder = folder
        self.manifest = _manifest(folder)
        tars = sorted(folder.glob("*.tar"))
        self._mds: dict[str, MdsFile | Path] = {}
        if self.manifest is not None and self.manifest.format != "mds":
            tars = [folder / f"{name}.tar" for name in self.manifest.shards]
        elif not tars:
            tars = self._find_mds()
        if not tars:
            raise UsageError(f"{folder} holds no .tar files")
        self.shards = tuple(self._shard(path) for path in tars)
        self.metadata = tuple(sorted((folder / FOLDER).glob("*.parquet"))) if self.manifest is not None else ()
        self._places: dict[str, Offsets] = {}

    def _find_mds(self) -> list[Path]:
        """The MDS shards of the folder, in the manifest's order."""
        found = {path.stem: path for path in find_mds(self.folder)}
        names = list(self.manifest.shards) if self.manifest is not None else sorted(found)
        if missing := [name for name in names if name not in found]:
            raise PairmillError(f"{self.folder}: {missing[0]}{SUFFIX} is missing, though {MANIFEST_NAME} names it")
        self._mds = {name: found[name] for name in names}
        return [found[name] for name in names]

    def _shard(self, path: Path) -> SourceShard:
        name = path.stem
        try:
            return SourceShard(name, split_of(name) or TRAIN, path.stat().st_size)
        except OSError as error:
            raise PairmillError(f"{path}: {error.strerror}; shard-stats {self.folder} --verify tells more") from error

    def path(self, shard: str) -> Path:
        """The file of a shard."""
        if shard in self._mds:
            found = self._mds[shard]
            return found if isinstance(found, Path) else found.path
        return self.folder / f"{shard}.tar"

    def _opened(self, shard: str) -> MdsFile | None:
        """The header of an MDS shard; None for a tar."""
        if shard not in self._mds:
            return None
        found = self._mds[shard]
        if isinstance(found, Path):
            try:
                found = open_mds(found)
            except (MdsError, OSError) as error:
                raise PairmillError(f"{error}; shard-stats {self.folder} --verify lists all faults") from error
            if not found.columns.ours:
                raise UsageError(
                    f"{found.path} has the columns {' '.join(found.columns.encodings)}; MDS can be a source where its "
                    f"columns are a sample's members as pairmill writes them (jpg, txt, json and {KEY})"
                )
            self._mds[shard] = found
        return found

    def read(self, descriptor: int, shard: str, start: int, end: int) -> MemberSample:
        """The sample in a range of an open shard; raises PairmillError where there is none."""
        mds = self._opened(shard)
        if mds is None:
            return read_sample(descriptor, self.path(shard), start, end)
        return mds_sample(mds, _whole(descriptor, mds.path, start, end))

    def sizes(self, descriptor: int, shard: str, start: int, end: int) -> tuple[str, list[tuple[str, int]]]:
        """Key, and extension and size of each member, of the sample in a range of an open shard; from headers alone."""
        mds = self._opened(shard)
        if mds is None:
            found = plain_sizes(lambda size, offset: os.pread(descriptor, size, offset), start, end)
            if found is not None:
                return found
        sample = self.read(descriptor, shard, start, end)
        return sample.key, [(extension, len(data)) for extension, data in sample.members]

    def places(self, shard: str) -> Offsets:
        """uint64 (samples, 2): where each sample's first header starts and its last member ends.

        From Energon's index where it is that of the tar, else from the tar's headers. Raises PairmillError for a tar
        that is damaged, or with members that no trainer would take as they are.
        """
        mds = self._opened(shard)
        if mds is not None:
            return mds.places
        if shard not in self._places:
            path = self.path(shard)
            indexed = indexed_places(path)
            if indexed is None:
                scan = quick_scan(path)
                indexed = walked(path) if scan is None else scan.places
            self._places[shard] = indexed
        return self._places[shard]

    def named(self, shard: str) -> list[tuple[str, str | None]]:
        """Key and uid (of the json member) of each sample of a shard; nothing else is read where the tar is plain."""
        scan = None if shard in self._mds else quick_scan(self.path(shard), uids=True)
        if scan is None:
            return [(sample.key, _uid_of(sample)) for sample in self.samples(shard)]
        self._places[shard] = scan.places
        return list(zip(scan.keys, scan.uids, strict=True))

    def samples(self, shard: str) -> Iterator[MemberSample]:
        """Every sample of a shard, read whole."""
        with open(self.path(shard), "rb", buffering=0) as file:
            for start, end in self.places(shard).tolist():
                yield self.read(file.fileno(), shard, start, end)


def read_sample(descriptor: int, path: Path, start: int, end: int) -> MemberSample:
    """The sample in a range of a tar. Raises PairmillError where there is none."""
    data = _whole(descriptor, path, start, end)
    sample = plain_sample(data) or _any_sample(path, data)
    if sample is None:
        raise PairmillError(f"{path} has no sample at byte {start}: its index is not of this tar")
    return sample


def _whole(descriptor: int, path: Path, start: int, end: int) -> bytes:
    data = os.pread(descriptor, end - start, start)
    if len(data) < end - start:
        raise PairmillError(f"{path} ends inside the sample at byte {start}: it is damaged")
    return data


def _uid_of(sample: MemberSample) -> str | None:
    return next((uid_in(bytes(data)) for extension, data in sample.members if extension == "json"), None)


def _any_sample(path: Path, data: bytes) -> MemberSample | None:
    """The sample in a range with headers of any kind."""
    nothing = FaultCounter(path.name)
    view = memoryview(data)
    try:
        for sample in group_samples(walk_members(path, data + bytes(-len(data) % BLOCK_BYTES)), nothing, nothing):
            found = [(extension, view[m.data_offset : m.data_offset + m.size]) for extension, m in sample.members]
            return MemberSample(sample.key, found)
    except DamagedTarError:
        return None
    return None


def walked(path: Path) -> Offsets:
    """uint64 (samples, 2): where each sample starts and ends, from the headers of a tar; raises as ``places`` does."""
    faults, warnings = FaultCounter(path.name), FaultCounter(path.name)
    try:
        places = [
            (sample.members[0][1].header_offset, sample.members[-1][1].data_offset + sample.members[-1][1].size)
            for sample in group_samples(walk_tar(path), faults, warnings)
        ]
    except (DamagedTarError, OSError) as error:
        raise PairmillError(f"{error}; shard-stats {path.parent} --verify lists all faults") from error
    if told := faults.faults():
        raise PairmillError(f"{told[0]}; mend the shard first (shard-stats {path.parent} --verify lists all faults)")
    return np.array(places, dtype=np.uint64).reshape(-1, 2)


def indexed_places(path: Path) -> Offsets | None:
    """What Energon's index says, or None where there is none, or one that cannot be of this tar.

    An index of another tar of the same name tells another end. Headers are looked at again when samples are read.
    """
    try:
        offsets = np.fromfile(path.with_name(energon_index_name(path.name)), dtype="<u8")
        with open(path, "rb") as file:
            end = os.pread(file.fileno(), 2 * BLOCK_BYTES, int(offsets[-1]))
    except (OSError, IndexError, OverflowError, ValueError):
        return None
    ordered = len(offsets) > 1 and offsets[0] == 0 and bool((offsets[1:] > offsets[:-1]).all())
    if not ordered or len(end) != 2 * BLOCK_BYTES or any(end):
        return None
    return np.stack([offsets[:-1], offsets[1:]], axis=1).astype(np.uint64)


def _manifest(folder: Path) -> Manifest | None:
    if not (folder / MANIFEST_NAME).is_file():
        if (folder / FOLDER).is_dir() and (folder.parent / "build.json").is_file():
            raise UsageError(f"{folder} has no {MANIFEST_NAME}: its build is not finished; run it to the end first")
        return None
    try:
        return read_manifest(folder)
    except ManifestError as error:
        raise UsageError(str(error)) from error
