"""All items of all evaluation sets of a build in mapped tables, and what of them the rows of a pool match."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.sharding.column_files import write_row_groups
from pairmill.sharding.embeddings import unpack_fp16
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.hex_digits import hex_halves
from pairmill.sharding.mirror import upload_folder
from pairmill.transforms.duplicates.pictures import Pictures
from pairmill.transforms.known.caption_table import CaptionTable, write_caption_table
from pairmill.transforms.known.evaluation_set import Decontamination
from pairmill.transforms.known.key_table import KeyTable, write_key_table
from pairmill.transforms.known.mapped_columns import ColumnWriter
from pairmill.transforms.known.matches import MATCH_COLUMNS, no_matches
from pairmill.transforms.known.picture_table import PictureTable, PictureTableWriter, stacked_thumbnails
from pairmill.transforms.known.vector_table import VectorTable, vector_columns


@dataclass
class _Gathered:
    """What is held in memory while an index is built: narrow columns, and captions."""

    keys: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    key_items: list[npt.NDArray[np.uint32]] = field(default_factory=list)
    key_sources: list[npt.NDArray[np.uint32]] = field(default_factory=list)
    captions: list[pl.Series] = field(default_factory=list)
    caption_items: list[npt.NDArray[np.uint32]] = field(default_factory=list)
    caption_sources: list[npt.NDArray[np.uint32]] = field(default_factory=list)


def write_evaluation_index(
    folder: Path, sets: Sequence[Iterable[pl.DataFrame]], settings: Decontamination, width: int | None
) -> None:
    """Write the tables of sets, each given as frames of ITEM_COLUMNS, in the order of the recipe.

    ``width``: of embeddings, None where none are compared. Beside the tables: ``items.parquet`` (source, item number,
    name, error). Thumbnails and embeddings pass through memory piece by piece; keys and captions are held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gathered = _Gathered()
    named: list[pl.DataFrame] = []
    first = 0
    with (
        PictureTableWriter(folder / "pictures") as pictures,
        ColumnWriter(folder / "vectors", vector_columns(width or 1)) as vectors,
    ):
        for source, frames in enumerate(sets):
            for frame in frames:
                numbers = np.arange(first, first + frame.height, dtype=np.uint32)
                sources = np.full(frame.height, source, dtype=np.uint32)
                first += frame.height
                named.append(frame.select("item", "error").with_columns(number=numbers, source=sources))
                _gather(gathered, frame, numbers, sources, settings)
                _add_pictures(pictures, frame, numbers, sources)
                if width is not None:
                    _add_vectors(vectors, frame, numbers, sources, width)
    _write_gathered(folder, gathered, settings)
    items = pl.concat(named) if named else _no_names()
    write_row_groups(folder / "items.parquet", [items])
    (folder / "index.json").write_text(json.dumps({"width": width}), encoding="utf-8")
    upload_folder(folder)


class EvaluationIndex:
    """The tables of a build's evaluation sets, mapped; each is opened when first asked."""

    def __init__(self, folder: Path, settings: Decontamination) -> None:
        self._folder = folder
        self._settings = settings
        try:
            self._width = json.loads((folder / "index.json").read_text(encoding="utf-8"))["width"]
        except OSError as error:
            raise PairmillError(f"{folder}: its index is gone; run the same command again") from error

    def find_images(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The matches of stored pictures by their bytes and by what they show; rows by their number, as MATCH_COLUMNS.

        ``rows`` has ``sha256`` as two halves (``sha_hi``, ``sha_lo``), and ``phash``, ``thumbnail``, ``width`` and
        ``height`` of the stored picture. One match a row, set and kind, the nearest. Ask for many rows at once.
        """
        if not rows.height:
            return no_matches()
        return pl.concat(
            [self._equal(rows.select("sha_hi", "sha_lo").to_numpy()), self._pictures.find(pictures_of(rows))]
        )

    def find_captions(self, captions: pl.Series) -> pl.DataFrame:
        """The matches of captions, where the settings compare them."""
        if self._settings.captions is None or not len(captions):
            return no_matches()
        return self._captions.find(captions, self._settings.captions)

    def find_embeddings(self, embeddings: pl.Series) -> pl.DataFrame:
        """The matches of embeddings (Binary, float16, null where there is none), where the settings compare them."""
        if self._settings.embeddings is None or self._width is None or not len(embeddings):
            return no_matches()
        return self._vectors.find(unpack_fp16(embeddings, self._width), self._settings.embeddings)

    def _equal(self, keys: npt.NDArray[np.uint64]) -> pl.DataFrame:
        query, source, item = self._keys.find(keys)
        zeros = np.zeros(len(query), dtype=np.float32)
        return pl.DataFrame(
            {
                "query": query,
                "source": source,
                "item": item,
                "kind": pl.repeat("sha256", len(query), eager=True),
                "distance": zeros,
                "thumbnail_difference": pl.repeat(None, len(query), eager=True),
                "near": zeros > 0,
            }
        ).cast(MATCH_COLUMNS)  # type: ignore[arg-type]

    @functools.cached_property
    def _keys(self) -> KeyTable:
        return KeyTable(self._folder / "keys")

    @functools.cached_property
    def _pictures(self) -> PictureTable:
        return PictureTable(self._folder / "pictures", self._settings.pictures)

    @functools.cached_property
    def _captions(self) -> CaptionTable:
        return CaptionTable(self._folder / "captions")

    @functools.cached_property
    def _vectors(self) -> VectorTable:
        return VectorTable(self._folder / "vectors", self._width)


def sha256_keys(sha256: pl.Series) -> npt.NDArray[np.uint64]:
    """The first 128 bits of checksums, none null, as keys (n, 2)."""
    return np.stack([half.to_numpy() for half in hex_halves(sha256.str.slice(0, 32))], axis=1)


def pictures_of(rows: pl.DataFrame) -> Pictures:
    """What is compared of stored pictures; no row lacks one."""
    return Pictures(
        phash=rows.get_column("phash").to_numpy(),
        thumbnails=stacked_thumbnails(rows.get_column("thumbnail")),
        width=rows.get_column("width").to_numpy(),
        height=rows.get_column("height").to_numpy(),
    )


def _no_names() -> pl.DataFrame:
    return pl.DataFrame(schema={"item": pl.String, "error": pl.String, "number": pl.UInt32, "source": pl.UInt32})


def _gather(
    gathered: _Gathered,
    frame: pl.DataFrame,
    numbers: npt.NDArray[np.uint32],
    sources: npt.NDArray[np.uint32],
    settings: Decontamination,
) -> None:
    for name in ("sha256", "stored_sha256"):
        there = frame.get_column(name).is_not_null().to_numpy()
        gathered.keys.append(sha256_keys(frame.get_column(name).drop_nulls()))
        gathered.key_items.append(numbers[there])
        gathered.key_sources.append(sources[there])
    if settings.captions is not None:
        captions = frame.get_column("captions").fill_null([])
        counts = captions.list.len().to_numpy()
        gathered.captions.append(captions.filter(pl.Series(counts > 0)).explode())
        gathered.caption_items.append(np.repeat(numbers, counts))
        gathered.caption_sources.append(np.repeat(sources, counts))


def _write_gathered(folder: Path, gathered: _Gathered, settings: Decontamination) -> None:
    def joined(parts: list[npt.NDArray[np.uint32]]) -> npt.NDArray[np.uint32]:
        return np.concatenate([np.empty(0, np.uint32), *parts])

    keys = np.concatenate([np.empty((0, 2), np.uint64), *gathered.keys])
    write_key_table(folder / "keys", keys, joined(gathered.key_items), joined(gathered.key_sources))
    if settings.captions is not None:
        captions = pl.concat([pl.Series([], dtype=pl.String), *(part.alias("") for part in gathered.captions)])
        told = (joined(gathered.caption_items), joined(gathered.caption_sources))
        write_caption_table(folder / "captions", captions, *told, settings.captions)


def _add_pictures(
    writer: PictureTableWriter,
    frame: pl.DataFrame,
    numbers: npt.NDArray[np.uint32],
    sources: npt.NDArray[np.uint32],
) -> None:
    there = frame.get_column("phash").is_not_null()
    known, rows = there.to_numpy(), frame.filter(there)
    mirrored = rows.get_column("phash_mirrored")
    writer.add(pictures_of(rows), numbers[known], sources[known], mirrored.fill_null(0).to_numpy())


def _add_vectors(
    writer: ColumnWriter,
    frame: pl.DataFrame,
    numbers: npt.NDArray[np.uint32],
    sources: npt.NDArray[np.uint32],
    width: int,
) -> None:
    there = frame.get_column("embedding").is_not_null()
    vectors = unpack_fp16(frame.get_column("embedding").filter(there), width).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = there.to_numpy()
    writer.add(
        vector=vectors / np.maximum(lengths, np.finfo(np.float32).tiny), item=numbers[known], source=sources[known]
    )
