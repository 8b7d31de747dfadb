"""Hugging Face datasets' streaming loader: DATASET LINES."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from datasets import Image, load_dataset
from told import pixels, ranks, shard_members, tell


def main(dataset: Path, lines: str) -> None:
    members = shard_members(dataset)
    keys = []
    for rank in ranks(lines):
        keys.append([])
        for sample in rank["loader"]:
            key = sample["__key__"]
            assert np.array_equal(np.asarray(sample["jpg"]), pixels(members[key]["jpg"]))
            assert sample["txt"] == members[key]["txt"].decode()
            assert sample["json"] == json.loads(members[key]["json"])
            keys[-1].append(key)
    plain = load_dataset(str(dataset), split="train", streaming=True).cast_column("jpg", Image(decode=False))
    images = {sample["__key__"]: sample["jpg"]["bytes"] for sample in plain}
    tell(
        keys=keys,
        members=sorted(members),
        bytes_equal=images == {key: found["jpg"] for key, found in members.items()},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
