"""webdataset's loader: DATASET LINES."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import webdataset as wds
from told import pixels, ranks, shard_members, tell


def main(dataset: Path, lines: str) -> None:
    members = shard_members(dataset)
    keys = []
    for rank in ranks(lines):
        keys.append([])
        for image, caption, key in rank["loader"]:
            assert np.array_equal(np.asarray(image), pixels(members[key]["jpg"]))
            assert caption == members[key]["txt"].decode()
            keys[-1].append(key)
    plain = {}
    for sample in wds.WebDataset(rank["shards"], shardshuffle=False):
        key = sample["__key__"]
        assert key not in plain
        plain[key] = {name: data for name, data in sample.items() if not name.startswith("__")}
    tell(version=version("webdataset"), keys=keys, members=sorted(members), bytes_equal=plain == members)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
