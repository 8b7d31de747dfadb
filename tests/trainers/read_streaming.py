"""One rank of two of mosaicml-streaming, over MDS shards: DATASET LINES RANK MEETING_FILE."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from told import pixels, shard_members, tell

BATCHES, BEFORE = 8, 3  # of 13 samples: one pass of a rank


def main(dataset: Path, lines: str, rank: int, meeting: str) -> None:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in ranks.items()})
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
    members = shard_members(dataset)
    defined = runpy.run_path(lines)
    order, state = [], None
    for number, batch in enumerate(defined["loader"], 1):
        order.append(check(batch, members))
        if number == BEFORE:
            state = json.loads(json.dumps(defined["loader"].state_dict()))
    del defined
    torch.distributed.barrier()
    again = runpy.run_path(lines)["loader"]
    again.load_state_dict(state)
    resumed = [check(batch, members) for batch in again]
    keys = [key for batch in order for key in batch]
    tell(keys=keys, members=sorted(members), batches=len(order), followed=order[BEFORE:], resumed=resumed)


def check(batch: dict[str, list[Any]], members: dict[str, dict[str, bytes]]) -> list[str]:
    """Each column holds the members of that name; returns the keys."""
    for key, image, caption, record in zip(*(batch[name] for name in ("key", "jpg", "txt", "json")), strict=True):
        found = members[key]
        assert np.array_equal(np.asarray(image), pixels(found["jpg"]))
        assert caption == found["txt"].decode()
        assert record == json.loads(found["json"])
    return batch["key"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
