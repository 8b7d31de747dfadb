"""The index of what a build kept, made whole at its end."""

from __future__ import annotations

import json
from dataclasses import asdict

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.mirror import entries, open_place, remove_file
from pairmill.sharding.publish import FileSum
from pairmill.transforms.job import Job
from pairmill.transforms.kept_step import kept_files, kept_name
from pairmill.transforms.known.kept_index import FOLDER, INDEX_NAME, write_index


def seal_kept(job: Job, kept: int) -> None:
    """Write ``kept/index.json``, and remove files of an earlier plan. Raises PairmillError where rows are missing."""
    folder = open_place(job.build) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    names = [kept_name(job, number) for number in kept_files(job)]
    told = [
        json.loads((job.parts / "kept_files" / f"{name.removesuffix('.parquet')}.json").read_text(encoding="utf-8"))
        for name in names
    ]
    rows = sum(one["rows"] for one in told)
    if rows != kept:
        raise PairmillError(
            f"the index of kept pairs has {rows} rows, kept are {kept}; this is a fault of pairmill: keep the folders "
            "and report it"
        )
    for stale in entries(folder):
        if stale not in {*names, INDEX_NAME}:
            remove_file(folder / stale)
    write_index(folder, [FileSum.from_dict(one["file"]) for one in told], rows, asdict(job.image))
