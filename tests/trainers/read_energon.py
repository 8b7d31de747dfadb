"""One rank of two of NVIDIA Energon: DATASET LINES RANK MEETING_FILE."""

from __future__ import annotations

import io
import runpy
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.energon import WorkerConfig, get_savable_loader, get_train_dataset
from told import pixels, shard_members, tell

BEFORE, AFTER = 7, 12  # batches


def main(dataset: Path, lines: str, rank: int, meeting: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
    members = shard_members(dataset)
    keys = []
    # One pass; the lines of the page go on without end.
    once = get_train_dataset(
        str(dataset),
        batch_size=4,
        shuffle_buffer_size=50,
        max_samples_per_sequence=10,
        worker_config=WorkerConfig.default_worker_config(num_workers=2),
        repeat=False,
    )
    for batch in get_savable_loader(once):
        for key, caption, image in zip(batch.__key__, batch.caption, batch.image, strict=True):
            check(members[key], caption, image)
            keys.append(key)
    loader = runpy.run_path(lines)["loader"]
    passed = take(loader, BEFORE)
    state = io.BytesIO()
    torch.save(loader.save_state_rank(), state)
    followed = take(loader, AFTER)
    again = runpy.run_path(lines)["loader"]
    again.restore_state_rank(torch.load(io.BytesIO(state.getvalue()), weights_only=False))
    tell(
        version=version("megatron-energon"),
        keys=keys,
        members=sorted(members),
        passed=passed,
        followed=followed,
        resumed=take(again, AFTER),
    )


def check(found: dict[str, bytes], caption: str, image: torch.Tensor) -> None:
    """The same caption; the same pixels, which a batch fills up to the size of its largest picture."""
    expected = pixels(found["jpg"])
    height, width, _ = expected.shape
    assert caption == found["txt"].decode()
    assert np.array_equal((image[:, :height, :width] * 255).round().byte().permute(1, 2, 0).numpy(), expected)


def take(loader: Any, batches: int) -> list[list[str]]:
    """The keys of the next batches."""
    found = iter(loader)
    return [list(next(found).__key__) for _ in range(batches)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
