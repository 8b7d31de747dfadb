"""The indexes of a whole dataset: open_clip's sizes, wids' shard list, Energon's folder, those of MDS.

All are made from what writing the shards reported; no shard is read again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairmill.sharding.energon import energon_files
from pairmill.sharding.mds import write_mds_index
from pairmill.sharding.publish import FileSum, publish_bytes, sync_folder
from pairmill.sharding.shard import ShardInfo
from pairmill.sharding.shard_plan import split_and_group

#: Split name (``train``, or ``train-en`` of a shard group) to its shards in their order; the first is to train on.
Splits = Mapping[str, Sequence[ShardInfo]]


def write_indexes(folder: Path, splits: Splits, image_ext: str = "jpg", grouped: bool = False) -> tuple[FileSum, ...]:
    """Write every index of the dataset in ``folder``; returns the files written, named relative to it.

    ``sizes.json`` names the shards of all splits. wids' index is one list of shards to read, so ``shardindex.json``
    holds the first split alone and each further one has a ``shardindex-SPLIT.json``: no trainer reads its test set
    unawares. ``grouped``: ``splits`` are shard groups (``train-en``), which have one each, beside those of the whole
    splits. All these name tars, and are written where there are any; MDS shards have an index for each split or group.
    """
    mds = tuple(
        write_mds_index(folder, split, shards)
        for split, shards in splits.items()
        if any(shard.mds is not None for shard in shards)
    )
    splits = {split: [shard for shard in shards if shard.has_tar] for split, shards in splits.items()}
    if mds and not any(splits.values()):
        return mds
    files: dict[str, bytes] = {"sizes.json": sizes_json(splits)}
    whole = without_groups(splits) if grouped else splits
    for number, (split, shards) in enumerate(whole.items()):
        if shards:
            files[f"shardindex-{split}.json" if number else "shardindex.json"] = wids_index(split, shards)
    for split, shards in splits.items() if grouped else ():
        if shards:
            files[f"shardindex-{split}.json"] = wids_index(split, shards)
    files.update(energon_files(splits, image_ext, grouped))
    (folder / ".nv-meta").mkdir(exist_ok=True)
    written = tuple(publish_bytes(folder / name, data, folder) for name, data in files.items())
    sync_folder(folder / ".nv-meta")
    sync_folder(folder)
    return (*written, *mds)


def without_groups(splits: Splits) -> Splits:
    """The shards of each split, those of its groups one after another."""
    joined: dict[str, list[ShardInfo]] = {}
    for split, shards in splits.items():
        joined.setdefault(split_and_group(split)[0], []).extend(shards)
    return joined


def sizes_json(splits: Splits) -> bytes:
    """open_clip's ``sizes.json``: tar file name to number of samples, for all splits."""
    return json_text({shard.tar_name: shard.samples for shards in splits.values() for shard in shards})


def wids_index(name: str, shards: Sequence[ShardInfo]) -> bytes:
    """wids' shard index (version 1), sorted by file name, which is relative to the index."""
    shard_list = [
        {"url": shard.tar_name, "nsamples": shard.samples, "filesize": shard.bytes}
        for shard in sorted(shards, key=lambda shard: shard.tar_name)
    ]
    return json_text({"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shard_list})


def json_text(value: Any) -> bytes:
    """JSON for people too: indented, keys in the order given, a newline at the end."""
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode("utf-8", "replace")
