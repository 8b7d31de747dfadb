"""Shard groups ``narrow`` and ``wide``, each by itself and mixed, as three trainers take them: DATASET."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import webdataset as wds
from megatron.energon import WorkerConfig, get_loader, get_val_dataset
from streaming import Stream, StreamingDataset
from told import tell

EPOCH = 400


def energon(dataset: Path, part: str) -> list[str]:
    """The keys of a part, once."""
    alone = WorkerConfig(rank=0, world_size=1, num_workers=0)
    loader = get_loader(get_val_dataset(str(dataset), split_part=part, batch_size=1, worker_config=alone))
    return [key for batch in loader for key in batch.__key__]


def streams(dataset: Path, proportions: dict[str, float]) -> Counter[str]:
    """How many samples an epoch of mosaicml-streaming takes from each group."""
    mixed = StreamingDataset(
        streams=[Stream(local=str(dataset / "mds" / name), proportion=part) for name, part in proportions.items()],
        batch_size=4,
        epoch_size=EPOCH,
        shuffle=True,
    )
    return Counter(side(sample["json"]) for sample in mixed)


def random_mix(dataset: Path, weights: dict[str, float]) -> Counter[str]:
    """The same of webdataset's RandomMix."""
    sources = [
        wds.WebDataset(sorted(map(str, dataset.glob(f"{name}-*.tar"))), shardshuffle=False, resampled=True)
        for name in weights
    ]
    mixed = iter(wds.RandomMix(sources, list(weights.values())))
    return Counter(side(json.loads(next(mixed)["json"])) for _ in range(EPOCH))


def side(record: dict[str, Any]) -> str:
    """The group that a sample belongs to, by its record."""
    return "wide" if record["width"] >= 51 else "narrow"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    tell(
        parts={part: energon(folder, part) for part in ("train", "train-narrow", "train-wide")},
        streams=streams(folder, {"train-narrow": 0.25, "train-wide": 0.75}),
        mix=random_mix(folder, {"train-narrow": 0.25, "train-wide": 0.75}),
    )
