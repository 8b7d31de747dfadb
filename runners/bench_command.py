"""``shard-stats --bench``: what a training loader reads from shards here, against the disk and against a GPU's need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pairmill.sharding.disk_probe import STREAM_BLOCK_BYTES, probe_disk
from pairmill.sharding.errors import UsageError
from pairmill.sharding.stats_cli import Target
from pairmill.transforms.loader_probe import Loaders, Reading

WAYS = ("cold", "cold_decoded", "warm", "warm_decoded")
#: Below this part of what the workers would read alone, other programs are told of.
UNSPOILED = 0.9


@dataclass(frozen=True)
class BenchRequest:
    """workers: loader processes; edge: of decoded images; gpu_samples_per_s: what one GPU takes, None if not told."""

    workers: int
    seconds: float
    edge: int
    gpu_samples_per_s: float | None


def bench(target: Target, wanted: BenchRequest) -> dict[str, Any]:
    """Read the shards cold and warm, with and without decoding; rates as a JSON object.

    Raises UsageError for what cannot be asked, PairmillError for a shard that cannot be read. ``of_disk`` is the part
    of what the disk itself reads with as many streams, past the page cache; ``busy_cores`` how many cores the workers
    used; ``binds`` what the workers spend more of their own time on, processor or disk. ``alone_samples_per_s`` is the
    rate had no other program taken cores from the workers.
    """
    try:
        readings = {
            "cold": Reading(wanted.seconds, None, cold=True),
            "cold_decoded": Reading(wanted.seconds, wanted.edge, cold=True),
            "warm": Reading(wanted.seconds, None),
            "warm_decoded": Reading(wanted.seconds, wanted.edge),
        }
    except ValueError as error:
        raise UsageError(f"--bench: {error}") from error
    with Loaders(target.tars, wanted.workers) as loaders:
        reads = {name: loaders.read(reading) for name, reading in readings.items()}
    told: dict[str, Any] = {"workers": wanted.workers, "edge": wanted.edge}
    disk = None
    if any(path.stat().st_size >= STREAM_BLOCK_BYTES for path in target.tars):
        speed = probe_disk(target.tars, 65_536, streams=wanted.workers, seconds=min(2.0, wanted.seconds))
        disk = speed.streams
        told["disk"] = {"bytes_per_s": disk, "past_the_page_cache": speed.direct}
    for name, found in reads.items():
        told[name] = {
            "samples_per_s": found.samples_per_s,
            "bytes_per_s": found.bytes_per_s,
            "samples": found.samples,
            "seconds": found.seconds,
            "processor_s": found.processor_s,
            "samples_per_core_s": found.samples_per_core_s,
            "busy_cores": found.processor_s / found.seconds,
            "alone_samples_per_s": found.alone_samples_per_s,
            "binds": found.binds,
            "of_disk": None if disk is None else found.bytes_per_s / disk,
        }
    if wanted.gpu_samples_per_s:
        told["gpus_fed"] = told["cold_decoded"]["samples_per_s"] / wanted.gpu_samples_per_s
    return told


def bench_lines(told: dict[str, Any]) -> list[str]:
    """The same for people."""
    lines = [f"read by {told['workers']} loader workers of webdataset, images decoded to {told['edge']} pixels"]
    if "disk" in told:
        past = "" if told["disk"]["past_the_page_cache"] else " (the page cache could not be passed by)"
        lines.append(f"  disk alone        {told['disk']['bytes_per_s'] / 1e6:>8,.0f} MB/s{past}")
    for key in WAYS:
        name, found = _name(key), told[key]
        of_disk = "" if found["of_disk"] is None or "warm" in key else f", {found['of_disk']:.0%} of the disk"
        rate = f"{found['samples_per_s']:>10,.0f} samples/s, {found['bytes_per_s'] / 1e6:>7,.0f} MB/s"
        lines.append(f"  {name:<20}{rate}, {found['busy_cores']:.1f} cores busy{of_disk}: {found['binds']} binds")
    if any(told[key]["samples_per_s"] < UNSPOILED * told[key]["alone_samples_per_s"] for key in WAYS):
        lines.append("  other programs had the cores for a part of the time; without them:")
        lines += [f"  {_name(key):<20}{told[key]['alone_samples_per_s']:>10,.0f} samples/s" for key in WAYS]
    if "gpus_fed" in told:
        lines.append(f"  enough for {told['gpus_fed']:.2f} GPUs")
    return lines


def _name(way: str) -> str:
    return way.replace("warm", "page cache").replace("_", ", ")
