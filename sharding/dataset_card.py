"""The dataset's README.md: what is in it and how to load it, with the front matter that Hugging Face needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairmill.sharding.indexes import without_groups
from pairmill.sharding.publish import FileSum, publish_bytes
from pairmill.sharding.record import RecordSchema
from pairmill.sharding.shard import ShardInfo
from pairmill.sharding.shard_plan import brace_pattern, split_and_group


@dataclass(frozen=True)
class CardFacts:
    """What the card tells beside the counts."""

    recipe: str  # its name
    record: RecordSchema
    image_ext: str = "jpg"
    title: str = "Image-text pairs"
    grouped: bool = False  # splits are shard groups, such as train-en


def write_dataset_card(folder: Path, splits: Mapping[str, Sequence[ShardInfo]], facts: CardFacts) -> FileSum:
    """Write ``README.md`` into the dataset's folder."""
    return publish_bytes(folder / "README.md", dataset_card(splits, facts).encode("utf-8", "replace"), folder)


def dataset_card(splits: Mapping[str, Sequence[ShardInfo]], facts: CardFacts) -> str:
    """The text of the card; the same for the same dataset.

    The front matter is no ornament: without it ``load_dataset(FOLDER)`` takes Energon's ``.tar.idx`` files for tars.
    """
    filled = {split: shards for split, shards in splits.items() if shards}
    return "\n".join(
        [*_front_matter(filled, facts.grouped), *_contents(filled, facts), *_loading(filled, facts), *_checking()]
    )


def _front_matter(splits: Mapping[str, Sequence[ShardInfo]], grouped: bool) -> list[str]:
    """A configuration with all samples, and one for each shard group."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split, shards in (without_groups(splits) if grouped else splits).items():
        lines += _data_files(split, split, shards)
    groups = [split_and_group(split)[1] if grouped else "" for split in splits]
    for group in dict.fromkeys(filter(None, groups)):
        lines += [f'- config_name: "{group}"', "  data_files:"]
        for (split, shards), own in zip(splits.items(), groups, strict=True):
            if own == group:
                lines += _data_files(split_and_group(split)[0], split, shards)
    return [*lines, "---", ""]


def _data_files(split: str, name: str, shards: Sequence[ShardInfo]) -> list[str]:
    names = "[0-9]*" if shards[0].name.isdigit() else f"{name}-*-of-*"
    # Hugging Face reads no MDS: there the samples are known by their metadata alone.
    path = f"{names}.tar" if shards[0].has_tar else f"metadata/{names}.parquet"
    return [f"  - split: {split}", f'    path: "{path}"']


def _contents(splits: Mapping[str, Sequence[ShardInfo]], facts: CardFacts) -> list[str]:
    lines = [f"# {facts.title}", "", f"Made by pairmill with the recipe `{facts.recipe}`.", ""]
    lines += ["| split | samples | shards | bytes |", "|---|---:|---:|---:|"]
    for split, shards in splits.items():
        samples = sum(shard.samples for shard in shards)
        size = sum(shard.stored_bytes for shard in shards)
        lines.append(f"| {split} | {samples:,} | {len(shards):,} | {size:,} |")
    lines += [""]
    if not splits or any(shard.has_tar for shards in splits.values() for shard in shards):
        members = f"`KEY.{facts.image_ext}` (the image), `KEY.txt` (its caption) and `KEY.json` (the fields below)"
        lines.append(f"A sample is {members}.")
    if any(shard.mds is not None for shards in splits.values() for shard in shards):
        lines += [
            f"In `mds/`, for mosaicml-streaming, a sample has the columns `{facts.image_ext}`, `txt`, `json` and `key`."
        ]
    lines += [
        'A missing value is `""`, -1, 0.0 or false in the json; `metadata/*.parquet` has a row per sample, with nulls.',
        "",
        "| field | type |",
        "|---|---|",
    ]
    lines += [
        f"| {' '.join(name.split()).replace('|', chr(92) + '|')} | {kind} |" for name, kind in facts.record.items()
    ]
    return [*lines, ""]


def _loading(splits: Mapping[str, Sequence[ShardInfo]], facts: CardFacts) -> list[str]:
    if not splits:
        return []
    name, shards = next(iter(splits.items()))
    told = f"Each group has its own shards; here `{name}` stands for any of those above."
    tars = _loading_tars(name, shards, facts) if shards[0].has_tar else []
    mds = _loading_mds(name) if shards[0].mds is not None else []
    return ["## Loading", *([told, ""] if facts.grouped else []), *tars, *mds, ""]


def _loading_mds(split: str) -> list[str]:
    return [
        "mosaicml-streaming (`remote` may be a URL of this folder):",
        "```python",
        "from streaming import StreamingDataset",
        f'pairs = StreamingDataset(local="FOLDER/mds", split="{split}", shuffle=True, batch_size=32)',
        "```",
    ]


def _loading_tars(split: str, shards: Sequence[ShardInfo], facts: CardFacts) -> list[str]:
    names = brace_pattern([shard.name for shard in shards])
    plain, group = split_and_group(split) if facts.grouped else (split, "")
    config = f'"{group}", ' if group else ""
    image = facts.image_ext
    return [
        "webdataset, 1.x and 0.2:",
        "```python",
        "import webdataset as wds",
        f'pairs = wds.WebDataset("{names}.tar", shardshuffle={len(shards)}).decode("pil").to_tuple("{image}", "txt")',
        "```",
        "Hugging Face datasets:",
        "```python",
        "from datasets import load_dataset",
        f'pairs = load_dataset("FOLDER", {config}split="{plain}", streaming=True)',
        "```",
        "NVIDIA Energon, with nothing to prepare:",
        "```python",
        "from megatron.energon import WorkerConfig, get_savable_loader, get_train_dataset",
        "worker_config = WorkerConfig.default_worker_config()",
        f'pairs = get_savable_loader(get_train_dataset("FOLDER", split_part="{split}", batch_size=32,',
        "    shuffle_buffer_size=1000, max_samples_per_sequence=100, worker_config=worker_config))",
        "```",
        "NVIDIA DALI, within a pipeline:",
        "```python",
        "from glob import glob",
        "from nvidia.dali import fn",
        f'tars = sorted(glob("{_glob(names)}.tar"))',
        'indexes = [tar[:-3] + "idx" for tar in tars]',
        f'images, captions = fn.readers.webdataset(paths=tars, index_paths=indexes, ext=["{image}", "txt"])',
        "```",
        "open_clip, which finds the number of samples in `sizes.json`:",
        "```sh",
        f'python -m open_clip_train.main --dataset-type webdataset --train-data "{names}.tar"',
        "```",
    ]


def _glob(names: str) -> str:
    """A brace pattern of one number as a pattern of the shell."""
    return re.sub(r"\{.*\}", "*", names)


def _checking() -> list[str]:
    return [
        "## Checking",
        "`shard-stats FOLDER` describes the samples; `shard-stats FOLDER --verify` checks it by `manifest.json`.",
        "",
    ]
