"""The segments of a pool in a file that workers read: what flows, and what is submitted, is their numbers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

import polars as pl

from pairmill.sharding.mirror import fetched
from pairmill.sharding.publish import publish_bytes
from pairmill.transforms.pool.plan import Segment
from pairmill.transforms.pool.schema import PoolColumn


@dataclass(frozen=True)
class StoredSegments(Sequence[Segment]):
    """The segments that ``save_segments`` wrote to ``path``; they are read when the first one is asked for."""

    path: str
    length: int

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, place: int) -> Segment: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Segment]: ...

    def __getitem__(self, place: int | slice) -> Segment | Sequence[Segment]:
        return load_segments(Path(self.path))[place]


def save_segments(path: Path, segments: Sequence[Segment]) -> StoredSegments:
    """Write the segments of a pool, which all have the same columns."""
    columns = segments[0].columns if segments else ()
    # Polars knows its own types best; submitter and workers have the same version of it.
    types = pl.DataFrame(schema={column.name: column.dtype for column in columns}).serialize()
    record = {
        "columns": [[column.name, list(column.sources)] for column in columns],
        "types": base64.b64encode(types).decode("ascii"),
        "segments": [
            {name: value for name, value in vars(segment).items() if name != "columns"} for segment in segments
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    publish_bytes(path, json.dumps(record).encode())
    return StoredSegments(str(path), len(segments))


@lru_cache(maxsize=4)
def load_segments(path: Path) -> Sequence[Segment]:
    """What ``save_segments`` wrote; one file is read once a process."""
    record = json.loads(fetched(path).read_bytes())
    types = pl.DataFrame.deserialize(io.BytesIO(base64.b64decode(record["types"]))).schema
    columns = tuple(PoolColumn(name, tuple(sources), types[name]) for name, sources in record["columns"])
    return [
        Segment(**{**segment, "header": tuple(segment["header"])}, columns=columns) for segment in record["segments"]
    ]
