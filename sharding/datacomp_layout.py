"""What DataComp's resharder leaves beside its shards, and its train.py and resharder look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pairmill.sharding.indexes import json_text
from pairmill.sharding.publish import FileSum, publish_bytes
from pairmill.sharding.shard import ShardInfo

META_NAME = "meta.json"


def stats_name(shard: str) -> str:
    """The file beside a shard that counts its samples."""
    return f"{shard}_stats.json"


def write_datacomp_files(folder: Path, splits: Mapping[str, Sequence[ShardInfo]], processed: int) -> list[FileSum]:
    """Write ``NNNNNNNN_stats.json`` for each shard, and ``meta.json``; ``processed``: how many pairs were looked at."""
    shards = [info for infos in splits.values() for info in infos]
    files = [
        publish_bytes(folder / stats_name(info.name), json_text({"successes": info.samples}), folder) for info in shards
    ]
    meta = {
        "output_shard_format": "{:08d}.tar",
        "output_shard_count": len(shards),
        "processed_count": processed,
        "output_count": sum(info.samples for info in shards),
    }
    return [*files, publish_bytes(folder / META_NAME, json_text(meta), folder)]
