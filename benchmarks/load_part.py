"""One process that reads without webdataset: ``plain`` files, ``loose`` samples, or shards by Energon's ``index``.

``python load_part.py plain|loose|index PATHS_FILE`` reads the paths in the file, one a line, once: of loose samples the
image, whose caption and json lie beside it; else the tar. It prints samples, bytes and the clocks of a loader worker.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from pairmill.transforms.loader_worker import clocks

BLOCK_BYTES = 1 << 20


def plain(tars: Iterable[str]) -> Iterator[int]:
    """The bytes of each block, from the first of a file to its last."""
    block = bytearray(BLOCK_BYTES)
    for tar in tars:
        with open(tar, "rb", buffering=0) as file:
            while size := file.readinto(block):
                yield size


def loose(images: Iterable[str]) -> Iterator[int]:
    """The bytes of each sample, of three files."""
    for image in images:
        stem = image[:-3]
        size = 0
        for name in (image, f"{stem}txt", f"{stem}json"):
            with open(name, "rb", buffering=0) as file:
                size += len(file.read())
        yield size


def index(tars: Iterable[str]) -> Iterator[int]:
    """The bytes of each sample, read from its first header to its end at once."""
    for tar in tars:
        offsets = np.fromfile(f"{tar}.idx", "<u8").tolist()
        descriptor = os.open(tar, os.O_RDONLY)
        for start, stop in pairwise(offsets):
            yield len(os.pread(descriptor, stop - start, start))
        os.close(descriptor)


def main() -> None:
    """Read, and tell."""
    ways = {"plain": plain, "loose": loose, "index": index}
    paths = Path(sys.argv[2]).read_text().splitlines()
    before = clocks()
    sizes = list(ways[sys.argv[1]](paths))
    spent = [now - then for now, then in zip(clocks(), before, strict=True)]
    print(json.dumps([len(sizes), sum(sizes), *spent]))


if __name__ == "__main__":
    main()
