"""One process that reads samples without webdataset: ``loose`` files, or shards by Energon's ``index``.

``python load_part.py loose|index PATHS_FILE`` reads the paths in the file, one a line, once: of loose files the image,
whose caption and json lie beside it; of shards the tar. It prints samples, bytes, seconds and seconds of processor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np


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
    ways = {"loose": loose, "index": index}
    paths = Path(sys.argv[2]).read_text().splitlines()
    started, used = time.perf_counter(), time.process_time()
    sizes = list(ways[sys.argv[1]](paths))
    print(json.dumps([len(sizes), sum(sizes), time.perf_counter() - started, time.process_time() - used]))


if __name__ == "__main__":
    main()
