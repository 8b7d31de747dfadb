"""Cutting a pool into segments that can be read independently of each other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import polars as pl

from pairmill.sharding.pair import MAX_BLOCKS_IN_FILE, MAX_FILES
from pairmill.transforms.pool.delimited import Dialect, header_of
from pairmill.transforms.pool.documents import document_keys, document_records
from pairmill.transforms.pool.folders import TextTally, is_image
from pairmill.transforms.pool.listing import FoundFile, format_of, pool_files, walk
from pairmill.transforms.pool.parquet import parquet_frames, parquet_layout, row_group_runs
from pairmill.transforms.pool.presets import PoolFormat
from pairmill.transforms.pool.records import Record, json_records, jsonl_records, sampled, sampled_dtypes
from pairmill.transforms.pool.schema import PoolColumn, check_file, common_dtype, plan_columns, preset_of
from pairmill.transforms.pool.spec import PoolError, PoolSpec
from pairmill.transforms.pool.tars import TAR_DROPPED, tar_records

#: A segment of a format that can be cut holds at least so many blocks.
BLOCKS_IN_SEGMENT = 16
#: Block numbers reserved for a segment whose rows only reading can tell.
DOCUMENT_BLOCKS = 1 << 16


@dataclass(frozen=True)
class Segment:
    """A part of the pool that one call reads.

    ``file`` and ``first_block`` are the numbers that ``block_number`` takes for the segment's first block, of at most
    ``block_limit``; ``path`` is relative to the pool's folder.
    ``start`` and ``stop`` are row groups of parquet, ``first_row`` the row of the file that they begin with; ``first``
    and ``last`` are image names in a folder of images; ``header`` and ``skip`` are the column names and the number of
    header lines of csv and tsv. ``rows`` is null where only reading can tell. ``size`` is the file's or the images'
    bytes, ``listing`` a digest of a folder's names and sizes, ``unpaired_texts`` the number of its caption files that
    belong to no image and so are no rows.
    """

    file: int
    first_block: int
    path: str
    format: PoolFormat
    columns: tuple[PoolColumn, ...]
    size: int
    rows: int | None = None
    start: int = 0
    stop: int = 0
    first_row: int = 0
    first: str = ""
    last: str = ""
    header: tuple[str, ...] = ()
    skip: int = 0
    listing: str = ""
    unpaired_texts: int = 0
    block_limit: int = MAX_BLOCKS_IN_FILE


def plan_segments(spec: PoolSpec) -> list[Segment]:
    """The pool's segments in pool order: files by path, row groups by number.

    Looks at names, sizes, parquet footers and csv headers; where a format has no schema (jsonl, json, tars, documents)
    also at the first 1,000 rows of at most eight files, spread over the pool. Files of no bytes hold no rows.
    All segments carry the same columns. Raises PoolError for a pool that is missing, empty, unreadable, of an unclear
    format, without a needed column, or too large for row numbers.
    """
    kind, files = pool_files(spec)
    if spec.image_root is not None and kind in ("files", "tars"):
        raise PoolError(f"{spec.path}: image_root is for tables with a path column, the pool is {kind}; leave it out")
    if len(files) > MAX_FILES:
        raise PoolError(f"{spec.path}: holds {len(files)} files, more than {MAX_FILES}; join some of them")
    try:
        segments = list(_PLANNERS[kind](spec, kind, files))
    except OSError as error:
        raise PoolError(f"{error.filename or spec.path}: cannot be read ({error.strerror})") from error
    if not segments:
        raise PoolError(f"{spec.path}: the pool has no rows; check the path")
    for segment in segments:
        if segment.first_block + segment.block_limit > MAX_BLOCKS_IN_FILE:
            raise PoolError(f"{segment.path}: too many blocks for one file; use a larger block_rows")
    return segments


def pool_identity(spec: PoolSpec, segments: Iterable[Segment]) -> str:
    """A digest of what the pool is: relative names, sizes, row ranges, columns, and the spec but for its folders.

    The same pool at another path, or touched, has the same identity; it says nothing of equally long changed content,
    which the digests of the blocks do.
    """
    digest = hashlib.blake2b(digest_size=16)
    said = [(f.name, getattr(spec, f.name)) for f in fields(spec) if f.name not in ("path", "image_root")]
    digest.update(repr([(k, sorted(v.items()) if isinstance(v, dict) else v) for k, v in said]).encode())
    for segment in segments:
        told = [getattr(segment, f.name) for f in fields(segment) if f.name != "columns"]
        named = [(c.name, c.sources, str(c.dtype)) for c in segment.columns]
        digest.update(repr((told, named)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def pool_folder(spec: PoolSpec) -> Path:
    """The folder that segment paths are relative to."""
    path = Path(spec.path)
    return path if path.is_dir() else path.parent


def _where(spec: PoolSpec, files: list[FoundFile]) -> str:
    return str(pool_folder(spec) / files[0].name) if len(files) == 1 else spec.path


def dialect_of(spec: PoolSpec, kind: PoolFormat) -> Dialect:
    """How the pool's csv or tsv files are written: by the spec, else the preset, else by their format."""
    quoting = preset_of(spec).quoting if spec.quoting is None else spec.quoting
    return Dialect(spec.delimiter or ("\t" if kind == "tsv" else ","), quoting)


def _delimited(spec: PoolSpec, kind: PoolFormat, files: list[FoundFile]) -> Iterator[Segment]:
    names = spec.header or preset_of(spec).header
    root = pool_folder(spec)
    heads = [header_of(root / f.name, dialect_of(spec, kind), names) for f in files]
    available = {name: pl.String() for header, _ in heads for name in header or ()}
    if not available:
        return
    columns = plan_columns(spec, available, _where(spec, files))
    for number, (found, (header, skip)) in enumerate(zip(files, heads, strict=True)):
        if header is not None:
            check_file(columns, dict.fromkeys(header, pl.String()), str(root / found.name))
            yield Segment(number, 0, found.name, kind, columns, found.size, header=header, skip=skip)


def _parquet(spec: PoolSpec, kind: PoolFormat, files: list[FoundFile]) -> Iterator[Segment]:
    root = pool_folder(spec)
    layouts = [parquet_layout(root / f.name) for f in files]
    available: dict[str, pl.DataType] = {}
    for dtypes, _ in layouts:
        for name, dtype in dtypes.items():
            available[name] = common_dtype(available[name], dtype) if name in available else dtype
    columns = plan_columns(spec, available, _where(spec, files))
    for number, (found, (dtypes, groups)) in enumerate(zip(files, layouts, strict=True)):
        check_file(columns, dtypes, str(root / found.name))
        whole = Segment(number, 0, found.name, kind, columns, found.size)
        yield from _row_groups(whole, groups, spec.block_rows)


def _row_groups(whole: Segment, groups: list[int], block_rows: int) -> Iterator[Segment]:
    """A parquet file cut into segments of at least BLOCKS_IN_SEGMENT blocks each but the last."""
    first_row = first_block = 0
    for start, stop in row_group_runs(groups, BLOCKS_IN_SEGMENT * block_rows):
        held = sum(groups[start:stop])
        known = held if whole.format == "parquet" else None  # documents have any number of images
        limit = -(-held // block_rows) if known is not None else DOCUMENT_BLOCKS
        yield replace(
            whole,
            first_block=first_block,
            block_limit=limit,
            rows=known,
            start=start,
            stop=stop,
            first_row=first_row,
        )
        first_row += held
        first_block += limit


def _json(spec: PoolSpec, kind: PoolFormat, files: list[FoundFile]) -> Iterator[Segment]:
    read: Callable[[Path], Iterator[Record]] = json_records if kind == "json" else jsonl_records
    root = pool_folder(spec)
    filled = [f for f in files if f.size]
    tables = (read(root / name) for name in sampled([Path(f.name) for f in filled]))
    available = sampled_dtypes(tables)
    if filled and not available:
        raise PoolError(f"{_where(spec, files)}: the first rows hold no JSON object; is the format right?")
    for name in spec.keep_columns if spec.keep_columns != "all" else ():
        available.setdefault(name, pl.String())
    columns = plan_columns(spec, available, _where(spec, files)) if filled else ()
    for number, found in enumerate(files):
        if found.size:
            yield Segment(number, 0, found.name, kind, columns, found.size)


def _tars(spec: PoolSpec, kind: PoolFormat, files: list[FoundFile]) -> Iterator[Segment]:
    root = pool_folder(spec)
    found = sampled_dtypes(tar_records(root / name, str(name)) for name in sampled([Path(f.name) for f in files]))
    available = {name: dtype for name, dtype in found.items() if name not in TAR_DROPPED}
    columns = plan_columns(spec, available, _where(spec, files), required=False)
    columns = (*columns, PoolColumn("pool_key", (), pl.String()))
    for number, file in enumerate(files):
        yield Segment(number, 0, file.name, kind, columns, file.size)


def _documents(spec: PoolSpec, kind: PoolFormat, files: list[FoundFile]) -> Iterator[Segment]:
    keys, pair_spec = document_keys(spec)
    root = pool_folder(spec)
    filled = [f for f in files if f.size]
    tables = (
        document_records(documents_of(root / name), keys, str(name)) for name in sampled([Path(f.name) for f in filled])
    )
    available = sampled_dtypes(tables)
    if "url" not in available:
        raise PoolError(
            f"{_where(spec, files)}: found no document with images; documents need lists texts and images"
            " (or MMC4's text_list and image_info); name them with pool columns: {texts: …, images: …}"
        )
    available |= {"url": pl.String(), "caption": pl.String(), "position": pl.Int64()}
    columns = plan_columns(pair_spec, available, _where(spec, files))
    for number, found in enumerate(files):
        whole = Segment(number, 0, found.name, kind, columns, found.size)
        if format_of(found.name) == "parquet":
            groups = parquet_layout(root / found.name)[1]
            yield from _row_groups(whole, groups, spec.block_rows)
        elif found.size:
            yield whole


def documents_of(path: Path, start: int = 0, stop: int | None = None, rows: int = 1_000) -> Iterator[Record]:
    """The documents of a jsonl or parquet file, those of row groups ``start`` to ``stop`` (all, when null)."""
    if format_of(path.name) != "parquet":
        yield from jsonl_records(path)
        return
    dtypes, groups = parquet_layout(path)
    for frame in parquet_frames(path, start, len(groups) if stop is None else stop, list(dtypes), rows):
        yield from (Record(row) for row in frame.iter_rows(named=True))


def _folder(spec: PoolSpec, kind: PoolFormat, files: list[FoundFile]) -> Iterator[Segment]:
    columns = tuple(PoolColumn(name, (), pl.String()) for name in ("path", "caption"))
    tally, held = TextTally(), _HeldImages()
    for found in walk(pool_folder(spec)):
        tally.add(found.name)
        held.add(found)
        if held.rows == BLOCKS_IN_SEGMENT * spec.block_rows:
            yield held.segment(columns, tally.take())
            held = _HeldImages(held.first_block + BLOCKS_IN_SEGMENT)
    tally.end()
    if held.rows:
        yield held.segment(columns, tally.take())


class _HeldImages:
    """The images of a folder's next segment, as far as they were seen."""

    def __init__(self, first_block: int = 0) -> None:
        self.first_block = first_block
        self.rows = 0
        self._size = 0
        self._first = self._last = ""
        self._listing = hashlib.blake2b(digest_size=16)

    def add(self, found: FoundFile) -> None:
        self._listing.update(f"{found.name}\0{found.size}\n".encode("utf-8", "surrogateescape"))
        if is_image(found.name):
            self._first, self._last = self._first or found.name, found.name
            self.rows, self._size = self.rows + 1, self._size + found.size

    def segment(self, columns: tuple[PoolColumn, ...], unpaired: int) -> Segment:
        return Segment(
            file=0,
            first_block=self.first_block,
            block_limit=BLOCKS_IN_SEGMENT,
            path="",
            format="files",
            columns=columns,
            size=self._size,
            rows=self.rows,
            first=self._first,
            last=self._last,
            listing=self._listing.hexdigest(),
            unpaired_texts=unpaired,
        )


_PLANNERS: dict[PoolFormat, Callable[[PoolSpec, PoolFormat, list[FoundFile]], Iterator[Segment]]] = {
    "csv": _delimited,
    "tsv": _delimited,
    "parquet": _parquet,
    "jsonl": _json,
    "json": _json,
    "tars": _tars,
    "documents": _documents,
    "files": _folder,
}
