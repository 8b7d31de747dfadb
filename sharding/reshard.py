"""A dataset into other shards: another count, order or subset, without decoding, reading only what is taken.

Samples are copied member by member under new headers; metadata rows and embeddings follow their samples. The manifest
comes last. What an interrupted attempt at the same plan finished is not written again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairmill.sharding.datacomp_layout import write_datacomp_files
from pairmill.sharding.dataset_card import CardFacts, write_dataset_card
from pairmill.sharding.embeddings import EmbeddingSet, map_embeddings, read_descriptions
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.indexes import json_text, write_indexes
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, write_manifest
from pairmill.sharding.mds import check_decodes, payload_bytes
from pairmill.sharding.publish import FileSum, publish_bytes, publishing, remove_temporaries
from pairmill.sharding.reshard_metadata import SpreadMetadata, gather_metadata, spread_metadata
from pairmill.sharding.reshard_plan import ReshardPlan, ReshardSettings, SplitPlan, plan_reshard
from pairmill.sharding.shard import IMAGE_EXTENSIONS, MemberSample, ShardInfo
from pairmill.sharding.shard_formats import Ahead, write_formats
from pairmill.sharding.shard_plan import shard_name
from pairmill.sharding.shard_source import ShardSource

#: In the new dataset while it is made; what is finished has a mark there.
UNFINISHED = ".unfinished"
OPEN_TARS = 128


@dataclasses.dataclass(frozen=True)
class Resharded:
    """What came of it."""

    samples: int
    source_samples: int
    shards: int
    bytes: int


def reshard(
    source_folder: Path,
    folder: Path,
    settings: ReshardSettings | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, shards: None,
) -> Resharded:
    """Make the dataset ``folder`` of the samples of another; ``progress`` is told the shards done and all of them.

    Raises UsageError before anything is written where source, settings or ``folder`` cannot be used, PairmillError for
    a damaged source.
    """
    settings = settings or ReshardSettings()
    source = ShardSource(source_folder)
    if folder.resolve() == source.folder.resolve():
        raise UsageError(f"{folder} is the source itself; choose another folder")
    plan = plan_reshard(source, settings)
    _claim(folder, plan)
    embeddings = read_descriptions(source.folder) if source.manifest is not None else []
    unfinished = folder / UNFINISHED
    tasks = [(split, number) for split in plan.splits for number in range(split.shards)]
    metadata = spread_metadata(source, plan, unfinished) if source.metadata else None
    writer = _Writer(source, folder, settings, embeddings, metadata)
    done = []
    with ThreadPoolExecutor(workers, thread_name_prefix="reshard") as pool:
        for record in pool.map(lambda task: writer.shard(*task), tasks):
            done.append(record)
            progress(len(done), len(tasks))
    _seal(source, folder, plan, settings, done, embeddings)
    shutil.rmtree(unfinished)
    infos = [ShardInfo.from_dict(record["shard"]) for record in done]
    return Resharded(plan.samples, plan.source_samples, len(infos), sum(info.stored_bytes for info in infos))


def _claim(folder: Path, plan: ReshardPlan) -> None:
    """Take a new folder for the plan, or one in which an attempt at the same plan was interrupted."""
    mark = folder / UNFINISHED / "plan"
    if (folder / MANIFEST_NAME).is_file():
        raise UsageError(f"{folder} holds a finished dataset; choose another folder")
    if mark.is_file():
        if mark.read_text(encoding="ascii") != plan.digest:
            raise UsageError(f"{folder} holds an unfinished dataset of another plan; remove it, or choose another")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose another folder")
    mark.parent.mkdir(parents=True, exist_ok=True)
    publish_bytes(mark, plan.digest.encode("ascii"))
    for path in (folder, *(entry for entry in folder.rglob("*") if entry.is_dir())):
        remove_temporaries(path)


Places = npt.NDArray[np.uint32]


class _Writer:
    """Writes single shards of a plan; used by several threads."""

    def __init__(
        self,
        source: ShardSource,
        folder: Path,
        settings: ReshardSettings,
        embeddings: Sequence[EmbeddingSet],
        metadata: SpreadMetadata | None,
    ) -> None:
        self._source, self._folder, self._settings = source, folder, settings
        self._embeddings, self._metadata = embeddings, metadata

    def shard(self, split: SplitPlan, number: int) -> dict[str, Any]:
        """Write one shard with all that belongs to it, or find it finished; returns what is known of it."""
        name = self._name(split, number)
        mark = self._folder / UNFINISHED / f"{name}.json"
        if mark.is_file():
            return dict(json.loads(mark.read_bytes()))
        start, stop = split.bounds()[number]
        shards, indexes = split.shard[start:stop], split.index[start:stop]
        try:
            places = (shards, indexes, split.copy[start:stop])
            info = write_formats(
                self._folder,
                split.split,
                name,
                self._samples(*places),
                self._settings.format,
                partial(self._ahead, *places),
            )
        except ValueError as error:
            raise PairmillError(f"{self._source.folder}: {error}") from error
        files: list[FileSum] = []
        if self._metadata is not None:
            files.append(gather_metadata(self._metadata, split.split, name, number, self._folder))
        vectors = [self._rows(told, name, shards, indexes) for told in self._embeddings]
        record = {
            "shard": info.to_dict(),
            "files": [file.to_dict() for file in (*files, *(file for file, _ in vectors))],
            "missing": [missing for _, missing in vectors],
        }
        publish_bytes(mark, json.dumps(record).encode())
        return record

    def _name(self, split: SplitPlan, number: int) -> str:
        return shard_name(split.split, number, split.shards, self._settings.layout)

    def _samples(self, shards: Places, indexes: Places, copies: Places) -> Iterator[MemberSample]:
        checks = self._settings.format != "webdataset" and self._source.manifest is None
        with self._opened() as opened:
            for shard, index, copy in zip(shards.tolist(), indexes.tolist(), copies.tolist(), strict=True):
                name = self._source.shards[shard].name
                start, end = self._source.places(name)[index].tolist()
                sample = self._source.read(opened(name), name, start, end)
                if checks:
                    check_decodes(sample)
                yield sample._replace(key=f"{sample.key}-{copy}") if copy else sample

    def _ahead(self, shards: Places, indexes: Places, copies: Places) -> Ahead:
        """The members of the first sample, and what each sample takes; from headers alone."""
        extensions: tuple[str, ...] = ()
        payloads = []
        with self._opened() as opened:
            for shard, index, copy in zip(shards.tolist(), indexes.tolist(), copies.tolist(), strict=True):
                name = self._source.shards[shard].name
                start, end = self._source.places(name)[index].tolist()
                key, members = self._source.sizes(opened(name), name, start, end)
                extensions = extensions or tuple(extension for extension, _ in members)
                payloads.append(payload_bytes(f"{key}-{copy}" if copy else key, (size for _, size in members)))
        return Ahead(extensions, payloads)

    @contextmanager
    def _opened(self) -> Iterator[Callable[[str], int]]:
        """What gives the descriptor of a source shard; only so many are open at a time."""
        handles: dict[str, int] = {}

        def opened(name: str) -> int:
            if name not in handles:
                if len(handles) >= OPEN_TARS:
                    os.close(handles.pop(next(iter(handles))))
                handles[name] = os.open(self._source.path(name), os.O_RDONLY)
            return handles[name]

        try:
            yield opened
        finally:
            for handle in handles.values():
                os.close(handle)

    def _rows(self, told: EmbeddingSet, name: str, shards: Places, indexes: Places) -> tuple[FileSum, list[int]]:
        """Write the embeddings of one new shard, as they are stored."""
        rows = np.zeros((len(shards), told.shape_of_row), dtype=told.dtype)
        missing = np.zeros(len(shards), dtype=bool)
        assert self._source.manifest is not None
        for shard in np.unique(shards).tolist():
            old = self._source.shards[shard].name
            mine = shards == shard
            rows[mine] = map_embeddings(self._source.folder, told, old, self._source.manifest.shards[old])[
                indexes[mine]
            ]
            missing[mine] = np.isin(indexes[mine], np.array(told.missing.get(old, ()), dtype=np.int64))
        path = told.path(self._folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with publishing(path) as writer:
            header = {"descr": told.dtype.str, "fortran_order": False, "shape": rows.shape}
            np.lib.format.write_array_header_1_0(writer, header)
            writer.write(rows.tobytes())
        file = FileSum(path.relative_to(self._folder).as_posix(), writer.bytes_written, writer.hexdigest())
        return file, np.flatnonzero(missing).tolist()


def _seal(
    source: ShardSource,
    folder: Path,
    plan: ReshardPlan,
    settings: ReshardSettings,
    done: Sequence[dict[str, Any]],
    embeddings: Sequence[EmbeddingSet],
) -> None:
    splits: dict[str, list[ShardInfo]] = {}
    records = iter(done)
    files: list[FileSum] = []
    missing: dict[str, list[list[int]]] = {}
    for split in plan.splits:
        for _ in range(split.shards):
            record = next(records)
            info = ShardInfo.from_dict(record["shard"])
            splits.setdefault(split.split, []).append(info)
            files += [*info.files, *map(FileSum.from_dict, record["files"])]
            missing[info.name] = record["missing"]
    written = sum(info.samples for infos in splits.values() for info in infos)
    if written != plan.samples:
        raise PairmillError(
            f"{plan.samples} samples were to be written, {written} were: a fault of pairmill, report it"
        )
    for number, told in enumerate(embeddings):
        new = dataclasses.replace(
            told, samples=written, missing={shard: tuple(rows[number]) for shard, rows in missing.items()}
        )
        files.append(publish_bytes(told.description_path(folder), json_text(new.to_dict()), folder))
    old = source.manifest
    image_ext = old.image_ext if old is not None else _image_ext(source)
    record_schema = old.record if old is not None else {}
    name = old.recipe_name if old is not None else source.folder.name
    grouped = bool(plan.groups)
    files += write_indexes(folder, splits, image_ext, grouped)
    if settings.layout == "datacomp":
        files += write_datacomp_files(folder, splits, plan.source_samples)
    files.append(write_dataset_card(folder, splits, CardFacts(name, record_schema, image_ext, grouped=grouped)))
    counts = {split: {info.name: info.samples for info in infos} for split, infos in splits.items()}
    changed = {key: value for key, value in dataclasses.asdict(settings).items() if value is not None}
    lists = {key: Path(changed[key]).name for key in ("subset", "without") if key in changed}
    write_manifest(
        folder,
        Manifest(
            splits=counts,
            files=tuple(sorted(files, key=lambda file: file.name)),
            seed=settings.seed,
            record=record_schema,
            image_ext=image_ext,
            recipe_name=name,
            recipe_fingerprint=plan.digest,
            recipe_text=(old.recipe_text if old is not None else "") + f"# resharded: {json.dumps(changed | lists)}\n",
            versions=old.versions if old is not None else {},
            scorers=old.scorers if old is not None else {},
            words=old.words if old is not None else {},
            groups=plan.groups,
        ),
    )


def _image_ext(source: ShardSource) -> str:
    sample = next(source.samples(source.shards[0].name), None)
    found = [extension for extension, _ in sample.members] if sample is not None else []
    return next((extension for extension in found if extension in (*IMAGE_EXTENSIONS, "jpeg")), IMAGE_EXTENSIONS[0])
