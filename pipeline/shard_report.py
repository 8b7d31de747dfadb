"""What a build tells of its shards: how many, what made it so many, how large, in which order, and how that is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pairmill.sharding.byte_size import told_bytes
from pairmill.sharding.shard import ShardInfo
from pairmill.transforms.job import Job
from pairmill.transforms.shard_order import SplitOrder, load_orders
from pairmill.transforms.write_step import plan_of


def tell_plan(job: Job, orders: Sequence[SplitOrder]) -> dict[str, Any]:
    """``order``; ``splits``: name → ``shards``, ``samples``, ``because`` (what decided their number) and ``notes``.

    Of the global order ``stored_bytes`` (of the images of all samples), ``random_read_bytes``, and ``two_passes``:
    whether images are brought together before shards are written, and take so much room besides.
    """
    told: dict[str, Any] = {"order": job.shards.order}
    if job.shards.is_global and orders:
        plan = plan_of(job)
        told |= {name: plan[name] for name in ("stored_bytes", "random_read_bytes", "two_passes")}
    told["splits"] = {
        order.split: {
            "shards": order.shards,
            "samples": order.samples,
            "because": order.chosen.because,
            "notes": list(order.chosen.notes),
        }
        for order in orders
    }
    return told


def tell_shards(job: Job, orders: Sequence[SplitOrder], shards: Mapping[str, Sequence[ShardInfo]]) -> dict[str, Any]:
    """The plan, and with each split the ``bytes`` of all files of its shards."""
    told = tell_plan(job, orders)
    for split, of_split in told["splits"].items():
        of_split["bytes"] = sum(file.bytes for info in shards.get(split, ()) for file in info.files)
    return told


def plan_lines(job: Job, moves_only: bool = False) -> list[str]:
    """The plan for people, before shards are written; none while there is no plan.

    ``moves_only``: none either where no images are moved, which takes room and time.
    """
    if not (job.parts / "plan.json").is_file() or (moves_only and not plan_of(job)["two_passes"]):
        return []
    return _lines(tell_plan(job, list(load_orders(job.parts / "orders.npz").values())), done=False)


def shard_lines(report: Mapping[str, Any]) -> list[str]:
    """The shards of a report for people: a line for each split that has any, one for each note, and one on the way."""
    return _lines(report["shards"], done=True) if "shards" in report else []


def _lines(told: Mapping[str, Any], done: bool) -> list[str]:
    lines = []
    for split, of_split in told["splits"].items():
        if of_split["shards"]:
            size = f" of {told_bytes(of_split['bytes'] // of_split['shards'])}" if "bytes" in of_split else ""
            lines.append(
                f"{split}: {of_split['samples']:,} samples in {of_split['shards']:,} shards{size}, "
                f"decided by {of_split['because']}"
            )
        lines += [f"{split}: {note}" for note in of_split["notes"]]
    if told.get("two_passes"):
        stored, limit = (told_bytes(told[name]) for name in ("stored_bytes", "random_read_bytes"))
        moved = "were brought together first" if done else "are brought together first"
        besides = "took" if done else "take"
        lines.append(
            f"order global: images of {stored}, more than {limit}, {moved}; bytes move three times, and {besides} "
            f"{stored} besides until the shards are written (shards.random_read_bytes)"
        )
    elif told["order"] == "global" and told.get("stored_bytes"):
        lines.append(f"order global: {told_bytes(told['stored_bytes'])} of images read at random places of the spool")
    return lines
