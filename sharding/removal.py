"""Taking samples out of a finished dataset: only the touched shards and their sidecars are written again.

While this is done the manifest lies in ``.removing/``, so that no reader takes the folder for whole; it comes back
last. A shard's metadata are replaced after its tar, indexes and embeddings: a shard whose metadata still name a sample
to remove is taken up again by the next run of the same command.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.column_files import attempt_path, replace_file, write_row_groups
from pairmill.sharding.datacomp_layout import META_NAME, write_datacomp_files
from pairmill.sharding.dataset_card import CardFacts, write_dataset_card
from pairmill.sharding.embeddings import EmbeddingSet, read_descriptions
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.indexes import json_text, write_indexes
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from pairmill.sharding.mds import SUFFIX, mds_sample, open_mds, payload_bytes
from pairmill.sharding.metadata import FOLDER
from pairmill.sharding.publish import FileSum, publish_bytes, publishing, remove_temporaries, sum_file
from pairmill.sharding.reshard_metadata import field_metadata
from pairmill.sharding.sample_index import dali_index_name, energon_index_name
from pairmill.sharding.shard import MemberSample, ShardInfo
from pairmill.sharding.shard_formats import Ahead, mds_path, write_formats
from pairmill.sharding.shard_source import read_sample, walked

#: In the dataset while samples are taken out: the manifest as it was, and a mark for each shard that is done.
UNDER_WAY = ".removing"

Kind = Literal["uid", "key", "url", "sha256"]
#: What a later build knows a removed pair by.
TOMBSTONE_COLUMNS = ("uid", "url", "sha256")


@dataclasses.dataclass(frozen=True)
class Removed:
    """What was taken out: samples, the shards written again, and by column what those samples were known by."""

    samples: int
    shards: int
    known_by: dict[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class RemovalPlan:
    """The samples to take out of each shard, as places in it; shards without any are not named."""

    dataset: Path
    manifest: Manifest
    places: dict[str, npt.NDArray[np.int64]]
    known_by: dict[str, tuple[str, ...]]

    @property
    def samples(self) -> int:
        """How many."""
        return sum(map(len, self.places.values()))


def plan_removal(dataset: Path, kind: Kind, values: pl.Series) -> RemovalPlan:
    """Find the samples whose ``kind`` is among ``values``; nothing is changed.

    Raises UsageError for a folder that is no finished dataset, a column that its metadata lack, and where a shard would
    be left without samples.
    """
    under_way = dataset / UNDER_WAY
    manifest = read_manifest(under_way if (under_way / MANIFEST_NAME).is_file() else dataset)
    places: dict[str, npt.NDArray[np.int64]] = {}
    known: dict[str, set[str]] = {column: set() for column in TOMBSTONE_COLUMNS}
    for shard in manifest.shards:
        path = dataset / FOLDER / f"{shard}.parquet"
        if not path.is_file():
            raise UsageError(f"{path} is not there: only datasets with a metadata file for each shard can be changed")
        lazy = pl.scan_parquet(path, hive_partitioning=False)
        columns = lazy.collect_schema().names()
        if kind not in columns:
            raise UsageError(f"--kind {kind}: the metadata of {dataset} have no such column")
        wanted = [name for name in TOMBSTONE_COLUMNS if name in columns]
        found = lazy.filter(pl.col(kind).is_in(values.implode())).select("index", *wanted).collect()
        if not found.height:
            continue
        places[shard] = np.sort(found.get_column("index").to_numpy().astype(np.int64))
        for column in wanted:
            known[column] |= set(found.get_column(column).drop_nulls())
        if found.height >= pl.scan_parquet(path).select(pl.len()).collect().item():
            raise UsageError(
                f"all samples of {shard}.tar would go, and no trainer reads an empty shard; "
                "make a new dataset with pairmill reshard --without"
            )
    return RemovalPlan(
        dataset, manifest, places, {name: tuple(sorted(found)) for name, found in known.items() if found}
    )


def remove_samples(plan: RemovalPlan) -> Removed:
    """Write the touched shards again, then the indexes, the card and the manifest. A killed call is made again."""
    dataset, manifest = plan.dataset, plan.manifest
    under_way = dataset / UNDER_WAY
    marks = {path.stem for path in under_way.glob("*.mark")}
    if not plan.samples and not marks:
        return Removed(0, 0, {})
    under_way.mkdir(exist_ok=True)
    if not (under_way / MANIFEST_NAME).is_file():
        os.replace(dataset / MANIFEST_NAME, under_way / MANIFEST_NAME)
    for folder in (dataset, *(path for path in dataset.rglob("*") if path.is_dir())):
        remove_temporaries(folder)
    embeddings = read_descriptions(dataset)
    for shard, places in plan.places.items():
        _rewrite(dataset, manifest, embeddings, shard, places)
    _seal(dataset, manifest, embeddings)
    shutil.rmtree(under_way)
    return Removed(plan.samples, len(plan.places), plan.known_by)


def _rewrite(
    dataset: Path, manifest: Manifest, embeddings: list[EmbeddingSet], shard: str, places: npt.NDArray[np.int64]
) -> None:
    metadata = dataset / FOLDER / f"{shard}.parquet"
    rows = pl.read_parquet(metadata, hive_partitioning=False)
    keep = ~np.isin(np.arange(rows.height), places)
    gone = set(rows.filter(~keep).get_column("key"))
    split = next(split for split, shards in manifest.splits.items() if shard in shards)
    path = mds_path(dataset, split, shard) if manifest.format == "mds" else dataset / f"{shard}.tar"
    kept_samples = _kept_samples(path, gone)
    info = write_formats(dataset, split, shard, kept_samples, manifest.format, lambda: _ahead(path, gone))
    if info.samples != int(keep.sum()):
        raise PairmillError(f"{path.name} does not hold the samples of its metadata; verify {dataset}")
    files: list[FileSum] = []
    missing: list[list[int]] = []
    for told in embeddings:
        file, absent = _cut_embeddings(dataset, told, shard, keep)
        files.append(file)
        missing.append(absent)
    kept = rows.filter(keep).with_columns(pl.int_range(pl.len()).cast(rows.schema["index"]).alias("index"))
    # The mark first: behind the metadata nothing would tell that this shard was touched.
    record = {"shard": info.to_dict(), "missing": missing, "files": [file.to_dict() for file in files]}
    publish_bytes(dataset / UNDER_WAY / f"{shard}.mark", json.dumps(record).encode())
    attempt = attempt_path(metadata)
    write_row_groups(attempt, [kept], field_metadata(metadata))
    replace_file(attempt, metadata)


def _ahead(path: Path, gone: set[str]) -> Ahead:
    extensions: tuple[str, ...] = ()
    payloads = []
    for sample in _kept_samples(path, gone):
        extensions = extensions or tuple(extension for extension, _ in sample.members)
        payloads.append(payload_bytes(sample.key, (len(data) for _, data in sample.members)))
    return Ahead(extensions, payloads)


def _kept_samples(path: Path, gone: set[str]) -> Iterator[MemberSample]:
    """The samples that stay, found by walking the shard: an interrupted call may have left it with old indexes."""
    mds = open_mds(path) if path.suffix == SUFFIX else None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for start, end in (walked(path) if mds is None else mds.places).tolist():
            if mds is None:
                sample = read_sample(descriptor, path, start, end)
            else:
                sample = mds_sample(mds, os.pread(descriptor, end - start, start))
            if sample.key not in gone:
                yield sample
    finally:
        os.close(descriptor)


def _cut_embeddings(
    dataset: Path, told: EmbeddingSet, shard: str, keep: npt.NDArray[np.bool_]
) -> tuple[FileSum, list[int]]:
    path = told.path(dataset, shard)
    rows = np.load(path, allow_pickle=False)
    if len(rows) == len(keep):  # else an interrupted call has cut them
        rows = rows[keep]
    if len(rows) != int(keep.sum()):
        raise PairmillError(f"{path} does not hold the samples of its metadata; verify {dataset}")
    with publishing(path) as writer:
        header = {"descr": told.dtype.str, "fortran_order": False, "shape": rows.shape}
        np.lib.format.write_array_header_1_0(writer, header)
        writer.write(rows.tobytes())
    absent = np.zeros(len(keep), dtype=bool)
    absent[list(told.missing.get(shard, ()))] = True
    file = FileSum(path.relative_to(dataset).as_posix(), writer.bytes_written, writer.hexdigest())
    return file, np.flatnonzero(absent[keep]).tolist()


def _seal(dataset: Path, manifest: Manifest, embeddings: list[EmbeddingSet]) -> None:
    marks = {path.stem: json.loads(path.read_bytes()) for path in (dataset / UNDER_WAY).glob("*.mark")}
    files = {file.name: file for file in manifest.files}
    splits: dict[str, list[ShardInfo]] = {}
    for split, shards in manifest.splits.items():
        for shard, samples in shards.items():
            if shard in marks:
                info = ShardInfo.from_dict(marks[shard]["shard"])
            else:
                info = _info(dataset, split, shard, samples, files)
            splits.setdefault(split, []).append(info)
            files |= {file.name: file for file in info.files}
    for shard, mark in marks.items():
        told_files = [FileSum.from_dict(file) for file in mark["files"]]
        metadata = sum_file(dataset / FOLDER / f"{shard}.parquet", dataset)
        files |= {file.name: file for file in (*told_files, metadata)}
    samples = sum(info.samples for infos in splits.values() for info in infos)
    for number, told in enumerate(embeddings):
        missing = told.missing | {shard: tuple(mark["missing"][number]) for shard, mark in marks.items()}
        new = dataclasses.replace(told, samples=samples, missing=missing)
        written = publish_bytes(told.description_path(dataset), json_text(new.to_dict()), dataset)
        files[written.name] = written
    if META_NAME in files:
        processed = int(json.loads((dataset / META_NAME).read_bytes())["processed_count"])
        files |= {file.name: file for file in write_datacomp_files(dataset, splits, processed)}
    grouped = bool(manifest.groups)
    card = CardFacts(manifest.recipe_name, manifest.record, manifest.image_ext, grouped=grouped)
    for file in (
        *write_indexes(dataset, splits, manifest.image_ext, grouped),
        write_dataset_card(dataset, splits, card),
    ):
        files[file.name] = file
    counts = {split: {info.name: info.samples for info in infos} for split, infos in splits.items()}
    ordered = tuple(sorted(files.values(), key=lambda file: file.name))
    write_manifest(dataset, dataclasses.replace(manifest, splits=counts, files=ordered))


def _info(dataset: Path, split: str, shard: str, samples: int, files: dict[str, FileSum]) -> ShardInfo:
    path = mds_path(dataset, split, shard)
    mds = files.get(path.relative_to(dataset).as_posix())
    extensions = open_mds(path).columns.extensions if mds is not None else ()
    tar = files.get(f"{shard}.tar")
    if tar is None:
        return ShardInfo(shard, samples, 0, "", (), mds, extensions)
    indexes = (files[energon_index_name(tar.name)], files[dali_index_name(tar.name)])
    return ShardInfo(shard, samples, tar.bytes, tar.sha256, indexes, mds, extensions)
