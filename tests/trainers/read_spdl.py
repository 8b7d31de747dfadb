"""SPDL's tar reader, over a shard in memory and over an open file: DATASET LINES."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from spdl.io import iter_tarfile
from told import shard_members, tell


def main(dataset: Path, lines: str) -> None:
    expected = {f"{key}.{ext}": data for key, found in shard_members(dataset).items() for ext, data in found.items()}
    names, streamed = [], []
    for name, data in runpy.run_path(lines)["members"]():
        assert bytes(data) == expected[name]
        names.append(name)
    for path in sorted(dataset.glob("train-*.tar")):
        with path.open("rb") as file:
            for name, data in iter_tarfile(file):
                assert data == expected[name]
                streamed.append(name)
    tell(names=names, streamed=streamed, expected=list(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
