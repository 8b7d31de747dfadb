"""Which files make up a pool, in which order, and of which format they are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pairmill.transforms.pool.presets import PoolFormat
from pairmill.transforms.pool.schema import preset_of
from pairmill.transforms.pool.spec import PoolError, PoolSpec

IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".jp2", ".jxl"),
}

_TABLE_SUFFIXES: dict[str, PoolFormat] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".tar": "tars",
}


@dataclass(frozen=True)
class FoundFile:
    """A file under a folder: its POSIX path relative to the folder, and its size in bytes."""

    name: str
    size: int


def walk(folder: Path, first: str = "", last: str | None = None) -> Iterator[FoundFile]:
    """Every file under ``folder`` from ``first`` to ``last`` (both included), ordered by path, folder by folder.

    Hidden names (with a leading dot) are left out. Links are followed, but not into a folder that holds the link.
    Folders that lie wholly before ``first`` or after ``last`` are not opened.
    """
    bounds = tuple(first.split("/")), tuple(last.split("/")) if last is not None else None
    yield from _walk(folder, (), *bounds, frozenset())


def _walk(
    folder: Path, above: tuple[str, ...], first: tuple[str, ...], last: tuple[str, ...] | None, open_: frozenset[object]
) -> Iterator[FoundFile]:
    here = folder.stat()
    if (here.st_dev, here.st_ino) in open_:
        return
    open_ = open_ | {(here.st_dev, here.st_ino)}
    with os.scandir(folder) as entries:
        ordered = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in ordered:
        parts = (*above, entry.name)
        if parts < first[: len(parts)]:
            continue
        if last is not None and parts > last:
            return
        if entry.is_dir():
            yield from _walk(folder / entry.name, parts, first, last, open_)
        elif entry.is_file() and parts >= first:
            yield FoundFile("/".join(parts), entry.stat().st_size)


def format_of(name: str) -> PoolFormat | None:
    """The format that a file name says, or None: ``a/b.csv.gz`` is csv, ``b.JPG`` is files (a folder of images)."""
    path = Path(name.lower())
    if path.suffix in IMAGE_SUFFIXES:
        return "files"
    packed = path.suffix in (".gz", ".zst")
    found = _TABLE_SUFFIXES.get(Path(path.stem).suffix if packed else path.suffix)
    return None if packed and found in ("parquet", "tars") else found


def pool_files(spec: PoolSpec) -> tuple[PoolFormat, list[FoundFile]]:
    """The pool's format and its files, relative to the pool's folder and in reading order (none listed for ``files``).

    Left out of a folder: hidden files, files and folders with a leading underscore (Spark's ``_SUCCESS``, img2dataset's
    ``_tmp``), img2dataset's ``_stats.json``, and the files of other formats.
    Raises PoolError when nothing is there or the format is unclear.
    """
    path = Path(spec.path)
    if not path.exists():
        raise PoolError(f"{path}: no such pool; check the path")
    wanted = preset_of(spec).format if spec.format == "auto" else spec.format
    if not path.is_dir():
        kind = wanted if wanted != "auto" else format_of(path.name)
        if kind is None or kind == "files":
            raise PoolError(f"{path}: cannot tell the format from the name; say pool format")
        return kind, [FoundFile(path.name, path.stat().st_size)]
    if wanted == "files":
        return "files", []
    try:
        found = [(format_of(f.name), f) for f in walk(path)]
    except OSError as error:
        raise PoolError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from error
    found = [(kind, f) for kind, f in found if kind == "files" or not _is_mark(f.name)]
    kind = wanted if wanted != "auto" else _format_of_folder(path, Counter(k for k, _ in found if k is not None))
    if kind == "files":
        return kind, []
    inside = ("jsonl", "parquet") if kind == "documents" else (kind,)
    chosen = [f for k, f in found if k in inside]
    if not chosen:
        raise PoolError(f"{path}: holds no {' or '.join(inside)} files; check the path or the format")
    return kind, chosen


def _is_mark(name: str) -> bool:
    return name.endswith("_stats.json") or any(part.startswith("_") for part in name.split("/"))


def _format_of_folder(path: Path, counts: Counter[PoolFormat]) -> PoolFormat:
    """The one format of a folder. Tables beside tars and json beside images are img2dataset's sidecars."""
    if "tars" in counts:
        counts = Counter({k: n for k, n in counts.items() if k not in ("parquet", "json")})
    elif "files" in counts:
        counts = Counter({k: n for k, n in counts.items() if k != "json"})
    if len(counts) == 1:
        return next(iter(counts))
    if not counts:
        raise PoolError(f"{path}: holds no file that can be a pool; check the path or say the format")
    kinds = ", ".join(f"{n} {k}" for k, n in sorted(counts.items()))
    raise PoolError(f"{path}: holds files of several formats ({kinds}); say which one is the pool with pool format")
