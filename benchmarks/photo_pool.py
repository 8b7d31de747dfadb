"""Many URLs of few photographs, no two with the same bytes, behind a real nginx on loopback.

Every copy of a photograph gets a JPEG comment with its number: other bytes, the same pixels and the same work.
"""

from __future__ import annotations

import fcntl
import importlib.util
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import polars as pl

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "examples" / "photos"
DATA = ROOT.parent / "shared" / "data"
_FILES_A_FOLDER = 1000


@dataclass(frozen=True)
class PhotoPool:
    """What is served: ``table`` is a parquet file of ``url`` and ``caption``, ``rows`` long."""

    table: Path
    rows: int
    mean_bytes: float


def example_module(name: str) -> ModuleType:
    """A module of examples/photos, whose folder is no package."""
    if str(PHOTOS) not in sys.path:
        sys.path.insert(0, str(PHOTOS))
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise SystemExit(f"{PHOTOS / name}.py is missing")
    return importlib.import_module(name)


@contextmanager
def served_photographs(
    folder: Path, rows: int, sources: tuple[str, ...] = ("coco", "clothing"), least_side: int = 0
) -> Iterator[PhotoPool]:
    """Lay ``rows`` images in ``folder/www``, serve them while the context is open, and remove them at its end.

    Taken in turn from the photographs of ``sources`` whose longest side has at least ``least_side`` pixels.
    """
    serve: Callable[[Path], AbstractContextManager[str]] = example_module("serve").serve
    with alone(folder):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "www").mkdir(parents=True)
        try:
            captions, size = lay_photographs(folder / "www", rows, sources, least_side)
            with serve(folder) as base:
                urls = [f"{base}/{number // _FILES_A_FOLDER:03d}/{number:06d}.jpg" for number in range(rows)]
                table = folder / "pool.parquet"
                pl.DataFrame({"url": urls, "caption": captions}).write_parquet(table)
                yield PhotoPool(table, rows, size / rows)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only benchmark that uses the folder; ends the program where another one does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(
                f"another benchmark is running in {folder}; wait for it, or give another --folder"
            ) from None
        yield


@contextmanager
def scratch(folder: Path) -> Iterator[None]:
    """The folder alone and empty, and gone behind the block."""
    with alone(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def lay_photographs(www: Path, rows: int, sources: tuple[str, ...], least_side: int) -> tuple[list[str], int]:
    """Lay ``rows`` images in folders of a thousand; returns their captions, and their bytes together."""
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not here; the benchmarks need its photographs")
    photographs = example_module("photographs").read_photographs(DATA, seed=0)
    chosen = [p for p in photographs if p.source in sources and max(p.width, p.height) >= least_side]
    bodies = [photo.file.read_bytes() for photo in chosen]
    captions, size = [], 0
    turns = itertools.islice(itertools.cycle(range(len(chosen))), rows)
    for number, index in enumerate(turns):
        place = www / f"{number // _FILES_A_FOLDER:03d}"
        place.mkdir(parents=True, exist_ok=True)
        size += (place / f"{number:06d}.jpg").write_bytes(commented(bodies[index], number))
        texts = chosen[index].captions
        captions.append(texts[number // len(chosen) % len(texts)])
    return captions, size


def commented(jpeg: bytes, number: int) -> bytes:
    """The same picture with a comment segment after its first marker."""
    comment = f"copy {number:08d}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
