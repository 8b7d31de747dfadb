"""wids, which reads samples by their number: DATASET LINES."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from told import pixels, ranks, shard_members, tell


def main(dataset: Path, lines: str) -> None:
    members = shard_members(dataset)
    files = sorted(path.name for path in dataset.iterdir())
    keys = []
    for rank in ranks(lines):
        keys.append([])
        for sample in rank["loader"]:
            found = members[sample["__key__"]]
            assert np.array_equal(np.asarray(sample[".jpg"]), pixels(found["jpg"]))
            assert sample[".txt"] == found["txt"].decode()
            assert sample[".json"] == json.loads(found["json"])
            keys[-1].append(sample["__key__"])
    tell(keys=keys, members=sorted(members), untouched=files == sorted(path.name for path in dataset.iterdir()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
