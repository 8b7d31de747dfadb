"""What earlier builds kept, in mapped tables: has one of them this pair, this URL, these bytes, this picture?"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.mirror import upload_folder
from pairmill.sharding.network_mount import refresh_folder
from pairmill.sharding.publish import sum_file
from pairmill.transforms.duplicates.pictures import NearSettings
from pairmill.transforms.known.evaluation_index import pictures_of
from pairmill.transforms.known.evaluation_set import PictureMatch
from pairmill.transforms.known.kept_index import FOLDER, KEPT_COLUMNS, EarlierBuild
from pairmill.transforms.known.key_table import KeyTable, write_key_table
from pairmill.transforms.known.picture_table import PictureTable, PictureTableWriter

#: Pairs in one set of tables: what is sorted in memory at a time.
ROWS_PER_TABLE = 4_000_000
#: Tables of pictures that a process keeps sorted, some 250 MB each; those of larger builds are sorted anew each time.
OPEN_TABLES = 2
_KEYS = ("uid", "url", "sha")


def write_build_tables(folder: Path, builds: Sequence[EarlierBuild], rows_per_table: int = ROWS_PER_TABLE) -> None:
    """Write the tables of earlier builds. Raises PairmillError for a file that is not what its index says."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frames in enumerate(_together(_files(builds), rows_per_table)):
        table = folder / f"{number:06d}"
        for name in _KEYS:
            halves = [frame.select(f"{name}_hi", f"{name}_lo").drop_nulls().to_numpy() for frame in frames]
            write_key_table(table / name, np.concatenate([np.empty((0, 2), np.uint64), *halves]))
        with PictureTableWriter(table / "pictures") as pictures:
            for frame in frames:
                zeros = np.zeros(frame.height, dtype=np.uint32)
                pictures.add(pictures_of(frame), zeros, zeros)
    upload_folder(folder)


class BuildTables:
    """The tables of earlier builds, mapped."""

    def __init__(self, folder: Path) -> None:
        refresh_folder(folder)
        self._folders = sorted(path for path in folder.glob("*") if path.is_dir())

    def has_uid(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Whether an earlier build has a pair of each uid (n, 2)."""
        return self._has("uid", keys)

    def has_url(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Whether an earlier build has an image of each URL, by its key (n, 2)."""
        return self._has("url", keys)

    def has_bytes(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Whether an earlier build has an image of each checksum (n, 2)."""
        return self._has("sha", keys)

    def has_picture(self, rows: pl.DataFrame, settings: NearSettings) -> npt.NDArray[np.bool_]:
        """Whether an earlier build has a picture alike to each; ``rows`` have phash, thumbnail, width and height."""
        found = np.zeros(rows.height, dtype=np.bool_)
        pictures = pictures_of(rows)
        for folder in self._folders:
            table = _picture_table(folder / "pictures", _exactly(settings))
            found[table.find(pictures).get_column("query").to_numpy()] = True
        return found

    def _has(self, name: str, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(keys), dtype=np.bool_)
        for table in self._tables(name):
            found |= table.holds(keys)
        return found

    @functools.cache  # noqa: B019  (lives as long as a run)
    def _tables(self, name: str) -> list[KeyTable]:
        return [KeyTable(folder / name) for folder in self._folders]


@functools.lru_cache(maxsize=OPEN_TABLES)
def _picture_table(folder: Path, settings: PictureMatch) -> PictureTable:
    return PictureTable(folder, settings)


def _exactly(near: NearSettings) -> PictureMatch:
    """The same bounds, with nothing between match and review, and no mirror images."""
    bounds = (near.max_distance, near.max_thumbnail_difference, near.max_aspect_difference)
    return PictureMatch(*bounds, False, *bounds)


def _files(builds: Sequence[EarlierBuild]) -> Iterator[pl.DataFrame]:
    for build in builds:
        for told in build.files:
            path = Path(build.path) / FOLDER / told.name
            try:
                if sum_file(path).sha256 != told.sha256:
                    raise PairmillError(f"{path} is not what its index says; make that build again, or leave it out")
                yield pl.read_parquet(path).select(list(KEPT_COLUMNS))
            except (OSError, pl.exceptions.PolarsError) as error:
                raise PairmillError(f"{path} cannot be read ({str(error).splitlines()[0]}); put it back") from error


def _together(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[list[pl.DataFrame]]:
    """Frames in groups of at least so many rows but the last."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(one.height for one in held) >= rows:
            yield held
            held = []
    if held:
        yield held
