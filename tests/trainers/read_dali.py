"""NVIDIA DALI's reader, on the processor: DATASET LINES."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from told import pixels, ranks, shard_members, tell


def main(dataset: Path, lines: str) -> None:
    members = shard_members(dataset)
    by_caption = {found["txt"]: key for key, found in members.items()}
    keys = []
    for rank in ranks(lines):
        loader = rank["loader"]
        assert loader.epoch_size("pairs") == len(members)
        keys.append([])
        for _ in range(len(members) // 2 // 26):
            images, captions = loader.run()
            for number in range(26):
                key = by_caption[bytes(captions.at(number))]
                assert np.array_equal(images.at(number), pixels(members[key]["jpg"]))
                keys[-1].append(key)
    tell(keys=keys, members=sorted(members))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
