"""What a build tells of its shards: how many, what made it so many, how large, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pairmill.sharding.shard import ShardInfo
from pairmill.transforms.job import Job
from pairmill.transforms.shard_order import SplitOrder


def tell_shards(job: Job, orders: Sequence[SplitOrder], shards: Mapping[str, Sequence[ShardInfo]]) -> dict[str, Any]:
    """``splits``: name → ``shards``, ``samples``, ``bytes`` (of all files of shards), ``because``, ``notes``."""
    splits = {
        order.split: {
            "shards": order.shards,
            "samples": order.samples,
            "bytes": sum(file.bytes for info in shards.get(order.split, ()) for file in info.files),
            "because": order.chosen.because,
            "notes": list(order.chosen.notes),
        }
        for order in orders
    }
    return {"splits": splits}


def shard_lines(report: Mapping[str, Any]) -> list[str]:
    """The same for people: a line for each split that has shards, and one for each note."""
    lines = []
    for split, told in report.get("shards", {}).get("splits", {}).items():
        if told["shards"]:
            size = told["bytes"] / told["shards"] / 2**20
            lines.append(
                f"{split}: {told['samples']:,} samples in {told['shards']:,} shards of {size:,.1f} MiB, "
                f"decided by {told['because']}"
            )
        lines += [f"{split}: {note}" for note in told["notes"]]
    return lines
