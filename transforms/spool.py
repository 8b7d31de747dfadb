"""The spool of one block: a tar of stored images, and the column file that names it."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from pairmill.sharding.pair import ROW_BITS, block_name
from pairmill.sharding.step_store import StepStore
from pairmill.sharding.tar import TarAppender
from pairmill.transforms.fetch.outcome import FetchOutcome
from pairmill.transforms.fetch_columns import FETCH_COLUMNS
from pairmill.transforms.image.store import ImageFailure

TAR_BUFFER_BYTES = 1 << 20


class SpoolSink:
    """Takes the outcomes of one block part in any order, writes the images as they come, commits on ``close``.

    The tar gets its final name (with an attempt of its own in it) before the column file that names it is published;
    where another attempt was first, this one removes its tar.
    """

    def __init__(self, store: StepStore, block: int, part: int) -> None:
        self._store, self._block, self._part = store, block, part
        name = block_name(block)
        self._name = f"{name[:-2]}/{name}.p{part}.{uuid.uuid4().hex[:12]}.tar"
        self._path = store.spool_folder / self._name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("wb", buffering=TAR_BUFFER_BYTES)
        self._tar = TarAppender(self._file)
        self._rows: list[dict[str, Any]] = []
        self._started = time.monotonic()

    def add(self, row: int, outcome: FetchOutcome) -> None:
        """Keep one outcome; raises OSError where the disk is full."""
        record: dict[str, Any] = {
            "row_id": self._block << ROW_BITS | row,
            "status": str(outcome.status.value),
            "status_detail": outcome.detail,
            "attempts": outcome.attempts,
            "fetch_seconds": outcome.seconds,
        }
        stored = outcome.stored
        if isinstance(stored, ImageFailure):
            record["status"], record["status_detail"] = stored.reason, stored.detail
        elif stored is not None:
            record["spool"] = self._name
            record["spool_offset"] = self._tar.add(f"{row:04x}", stored.data)
            record.update(stored.columns())
        self._rows.append(record)

    def close(self) -> None:
        """Commit what was added: the tar made durable, then the column file published."""
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        frame = pl.DataFrame(self._rows, schema=FETCH_COLUMNS).sort("row_id")
        counts: Counter[str] = Counter(frame.get_column("status").to_list())
        counts["stored_bytes"] = int(frame.get_column("stored_bytes").sum())
        if counts["ok"] == 0:
            self._path.unlink()
        self._store.commit(
            [self._block],
            [frame],
            part=self._part,
            seconds=time.monotonic() - self._started,
            counts=dict(counts),
            on_loss=lambda: self._path.unlink(missing_ok=True),
        )

    def abort(self) -> None:
        """Leave nothing behind, unless the column file that names the tar is already there."""
        self._file.close()
        if not self._store.column_path(self._block, self._part).is_file():
            self._path.unlink(missing_ok=True)


def spool_path(store: StepStore, name: str) -> Path:
    """Where a spool tar named in a column lies."""
    return store.spool_folder / name
