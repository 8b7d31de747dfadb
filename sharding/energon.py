"""The ``.nv-meta`` folder of NVIDIA Energon, so that ``energon prepare`` need not read the dataset again.

Formats as of Energon 7.4.1. The SQLite index is left out: plain training does not open it, and its form is declared
internal. Training on another Energon reads these files too, as long as it keeps the layout of version 7.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pairmill.sharding.shard import ShardInfo
from pairmill.sharding.shard_plan import brace_pattern, split_and_group

ENERGON_VERSION = "7.4.1"


def energon_files(splits: Mapping[str, Sequence[ShardInfo]], image_ext: str, grouped: bool = False) -> dict[str, bytes]:
    """The files of ``.nv-meta``: name relative to the dataset, to content.

    ``.info.json`` counts the samples of each tar, and its order numbers them; ``split.yaml`` lists the tars of each
    split as one brace pattern, with ``grouped`` those of each shard group (``train-en``) and of the splits of the
    groups (``train``); ``dataset.yaml`` maps the members to a ``CaptioningSample``.
    """
    counts = {shard.tar_name: shard.samples for shards in splits.values() for shard in shards}
    info = json.dumps({"energon_version": ENERGON_VERSION, "shard_counts": counts}, indent=2)
    patterns = {
        split: f'"{brace_pattern([shard.name for shard in shards])}.tar"' for split, shards in splits.items() if shards
    }
    of_split: dict[str, list[str]] = {}
    for split, pattern in patterns.items() if grouped else ():
        of_split.setdefault(split_and_group(split)[0], []).append(pattern)
    of_split |= {split: [pattern] for split, pattern in patterns.items()}
    parts = "".join(f"  {split}: [{', '.join(found)}]\n" for split, found in of_split.items())
    return {
        ".nv-meta/.info.json": f"{info}\n".encode("ascii"),
        ".nv-meta/split.yaml": f"split_parts:\n{parts}exclude: []\n".encode("ascii"),
        ".nv-meta/dataset.yaml": (
            "sample_type:\n"
            "  __module__: megatron.energon\n"
            "  __class__: CaptioningSample\n"
            "field_map:\n"
            f"  image: {image_ext}\n"
            "  caption: txt\n"
        ).encode("ascii"),
    }
