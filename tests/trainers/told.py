"""What the scripts of this folder share: the members of the shards, by the standard library alone, and one line told.

A script runs in a trainer's environment, where there is no pairmill.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def shard_members(dataset: Path) -> dict[str, dict[str, bytes]]:
    """Key → extension → bytes, of all shards to train on."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(dataset.glob("train-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ext = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                assert ext not in found.setdefault(key, {})
                found[key][ext] = file.read()
    return found


def pixels(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Height x width x 3 of an encoded picture."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def ranks(lines: str, count: int = 2) -> Iterator[dict[str, Any]]:
    """What the lines of the page define, for one rank of a training run after the other."""
    for rank in range(count):
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(count))
        yield runpy.run_path(lines)
    del os.environ["RANK"], os.environ["WORLD_SIZE"]


def tell(**what: object) -> None:
    """The script's answer."""
    print(f"\n{json.dumps(what)}")
    sys.stdout.flush()
