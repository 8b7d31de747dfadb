"""The builds that share a work folder: ``WORK/builds/`` holds a note of each, with the stores that it uses."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.select_files import MARK
from pairmill.sharding.manifest import MANIFEST_NAME
from pairmill.sharding.mirror import fetched_all, is_there, listed, open_place, place_of
from pairmill.sharding.publish import publish_bytes

FOLDER = "builds"


@dataclass(frozen=True)
class KnownBuild:
    """A build: its folder, and the names of the stores of the work folder that it reads and writes."""

    folder: Path
    stores: frozenset[str]

    @property
    def is_there(self) -> bool:
        """Whether its folder still exists."""
        return is_there(self.folder / "build.json")

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing to resume: it has a dataset or, where it only selects, its mark."""
        return is_there(self.folder / "dataset" / MANIFEST_NAME) or is_there(self.folder / MARK)


def note_build(work: Path, prepared: Prepared) -> None:
    """Note that a build uses a work folder, and which stores of it. Call it under the folder's lock."""
    job = prepared.job
    stores = [job.pool_store, job.segment_store, job.language_store, job.count_store, job.fetch_store]
    stores += [*job.model_stores, *(run.store for run in job.evaluation)]
    record = {"build": job.build, "recipe": prepared.recipe.name, "stores": sorted({store.name for store in stores})}
    path = _note(work, open_place(job.build))
    path.parent.mkdir(parents=True, exist_ok=True)
    publish_bytes(path, json.dumps(record, indent=1).encode())


def known_builds(work: Path) -> list[KnownBuild]:
    """The builds that were noted, in the order of their folders; a note that cannot be read raises ValueError."""
    found = []
    for path in sorted((work / FOLDER).glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found.append(KnownBuild(open_place(record["build"]), frozenset(record["stores"])))
    return sorted(found, key=lambda build: build.folder)


def forget_build(work: Path, build: Path) -> None:
    """Remove the note of a build whose folder is gone."""
    _note(work, build).unlink(missing_ok=True)


def kept_rows(build: Path) -> Counter[int]:
    """How many rows of each block a build kept, from its ledger."""
    counts: Counter[int] = Counter()
    for file in fetched_all(listed(build / "ledger", "*.parquet")):
        kept = pl.scan_parquet(file).filter("kept").group_by("block").len().collect()
        for block, rows in kept.iter_rows():
            counts[int(block)] += rows
    return counts


def _note(work: Path, build: Path) -> Path:
    digest = hashlib.sha256(place_of(build).encode("utf-8", "surrogateescape")).hexdigest()
    return work / FOLDER / f"{digest[:16]}.json"
