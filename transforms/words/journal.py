"""Answers as they come, on disk: what a killed run had been answered is not asked again.

A file of lines for each batch of blocks, in the work folder beside the columns; removed when the batch is committed.
"""

from __future__ import annotations

import json
import os
import time

from pairmill.sharding.mirror import fresh, is_mirrored, open_place, remove_file, upload
from pairmill.sharding.pair import block_name
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.words.request import TextAnswer

#: Lines are made durable at most so often; a killed process loses none, a machine without power those of this time.
_SYNC_S = 1.0
#: A store gets the whole journal of a batch so often; a machine that is lost loses the answers of this time.
_PUT_S = 10.0


class AnswerJournal:
    """The answers of one batch of blocks by the digest of their request; use it as a context."""

    def __init__(self, store: StepStore, first_block: int) -> None:
        folder = open_place(store.work) / "journal" / store.name
        name = block_name(first_block)
        self._path = folder / name[:-2] / f"{name}.jsonl"
        self._handle: int | None = None
        self._synced = self._put = time.monotonic()

    def read(self) -> dict[str, TextAnswer]:
        """What was answered before; a line that a killed run left unfinished is passed over."""
        found: dict[str, TextAnswer] = {}
        if not fresh(self._path).is_file():
            return found
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                told = json.loads(line)
                digest, fields = str(told["request"]), dict(told["answer"])
                found[digest] = TextAnswer(**{**fields, "texts": tuple(fields["texts"])})
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, digest: str, answer: TextAnswer) -> None:
        """Keep one answer."""
        told = {"request": digest, "answer": {**answer.__dict__, "texts": list(answer.texts)}}
        line = json.dumps(told, ensure_ascii=True, separators=(",", ":")) + "\n"
        if self._handle is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._end_torn_line()
        left = line.encode()
        while left:  # a nearly full disk takes a part, and refuses the next
            left = left[os.write(self._handle, left) :]
        if time.monotonic() - self._synced > _SYNC_S:
            os.fsync(self._handle)
            self._synced = time.monotonic()
        if is_mirrored(self._path) and time.monotonic() - self._put > _PUT_S:
            upload(self._path, self._path)
            self._put = time.monotonic()

    def remove(self) -> None:
        """The answers are committed: nobody needs the journal."""
        self.close()
        remove_file(self._path)

    def close(self) -> None:
        """Make durable what was added."""
        if self._handle is not None:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = None
            upload(self._path, self._path)

    def _end_torn_line(self) -> None:
        """Behind a line without an end the next one would be lost with it."""
        assert self._handle is not None
        size = os.fstat(self._handle).st_size
        if size and os.pread(self._handle, 1, size - 1) != b"\n":
            os.write(self._handle, b"\n")

    def __enter__(self) -> AnswerJournal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
