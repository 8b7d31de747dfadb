"""Embeddings of a build's rows as plain files of float16, mapped from disk: one a lane, the rows in its order."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.embeddings import HALF
from pairmill.sharding.mirror import fetched, settle

_PLACE_BITS = 40

Vectors = npt.NDArray[np.float16]


class VectorWriter:
    """Appends rows to the file of a lane, which appears when the block ends well."""

    def __init__(self, folder: Path, lane: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = _path(folder, lane)
        self._attempt = attempt_path(self._path)
        self._lane = lane
        self._file = self._attempt.open("xb")
        self._rows = 0

    def add(self, vectors: Vectors) -> npt.NDArray[np.int64]:
        """Write rows [rows, width], and return the numbers by which ``MappedVectors`` knows them."""
        self._file.write(np.ascontiguousarray(vectors, dtype=HALF).tobytes())
        first = (self._lane << _PLACE_BITS) | self._rows
        self._rows += len(vectors)
        return np.arange(first, first + len(vectors), dtype=np.int64)

    def __enter__(self) -> VectorWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None:
            settle(self._attempt, self._path)
        else:
            self._attempt.unlink(missing_ok=True)


class MappedVectors:
    """The vectors of all lanes, taken by number as from an array; what is not asked for is not read."""

    def __init__(self, folder: Path, width: int) -> None:
        self._folder = folder
        self.shape = (0, width)

    def __getitem__(self, numbers: npt.NDArray[np.int64]) -> Vectors:
        lanes = numbers >> _PLACE_BITS
        places = numbers & ((1 << _PLACE_BITS) - 1)
        found = np.empty((len(numbers), self.shape[1]), dtype=HALF)
        for lane in np.unique(lanes).tolist():
            mine = lanes == lane
            found[mine] = _mapped(_path(self._folder, lane), self.shape[1])[places[mine]]
        return found


@lru_cache(maxsize=256)
def _mapped(path: Path, width: int) -> Vectors:
    rows = os.stat(fetched(path)).st_size // (width * HALF.itemsize)
    return np.memmap(path, dtype=HALF, mode="r", shape=(rows, width))


def _path(folder: Path, lane: int) -> Path:
    return folder / f"{lane:06d}.f16"
