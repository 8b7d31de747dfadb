"""``pairmill plan-shards``: what this machine reads, what a training run wants, and the shards that fit both."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairmill.sharding.disk_probe import PROBE_BYTES, DiskSpeed, probe_disk, probe_folder
from pairmill.sharding.errors import UsageError
from pairmill.sharding.load_plan import KNOWN_RATES, LoadPlan, NodeSpeed, Training, plan_load
from pairmill.sharding.shard_source import ShardSource
from pairmill.transforms.loader_probe import Loaders, Reading

#: What a shard takes in memory and on disk beside its samples does not matter; this many seconds measure each rate.
PROBE_S = 2.0


@dataclass(frozen=True)
class Wanted:
    """What the command was asked; None where it is to be measured or counted."""

    dataset: Path
    nodes: int
    gpus: int
    workers: int
    model: str | None
    gpu: str
    samples_per_s: float | None
    edge: int
    disk: Path | None
    cores: int | None
    samples: int | None
    remote: float | None
    decodes: bool = True  # the loader, not the GPU


def plan_shards(wanted: Wanted, as_json: bool) -> int:
    """Measure, plan, print; returns the exit code."""
    training = _training(wanted)
    source = ShardSource(wanted.dataset)
    paths = [source.path(shard.name) for shard in source.shards]
    samples = sum(len(source.places(shard.name)) for shard in source.shards)
    if not samples:
        raise UsageError(f"{wanted.dataset} holds no samples")
    sample_bytes = sum(shard.bytes for shard in source.shards) / samples
    speed = _disk(wanted.disk, paths, int(sample_bytes))
    cores = wanted.cores or len(os.sched_getaffinity(0))
    here = len(os.sched_getaffinity(0))
    with Loaders(paths, here) as loaders:
        # Other programs, which are there now, are left out: decoding goes by processor time, reading tars by the time
        # of a worker that is not queued for a core. The latter waits for the disk, as far as nothing was read ahead.
        decoded = loaders.read(_reading(wanted.edge))
        plain = loaders.read(Reading(seconds=PROBE_S, edge=None, cold=True))
    node = NodeSpeed(
        disk=speed.streams,
        decode=decoded.samples_per_core_s,
        cores=cores,
        tars=plain.alone_samples_per_s / here,
        capacity=float(shutil.disk_usage(wanted.disk or source.folder).total),
        remote=wanted.remote,
    )
    plan = plan_load(wanted.samples or samples, sample_bytes, training, node)
    print(_as_json(plan, speed, node, sample_bytes) if as_json else _as_text(plan, speed, node, training, sample_bytes))
    return 0


def _reading(edge: int) -> Reading:
    try:
        return Reading(seconds=PROBE_S, edge=edge)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _disk(folder: Path | None, paths: list[Path], sample_bytes: int) -> DiskSpeed:
    """The dataset's own shards are read where they are large enough to tell, else files written beside them."""
    if folder is None and any(path.stat().st_size >= PROBE_BYTES // 8 for path in paths):
        return probe_disk(paths, sample_bytes, seconds=PROBE_S)
    return probe_folder(folder or paths[0].parent.parent, sample_bytes, seconds=PROBE_S)


def _training(wanted: Wanted) -> Training:
    rate = wanted.samples_per_s
    if rate is None:
        name = (wanted.model or "ViT-B-32", wanted.gpu)
        if name not in KNOWN_RATES:
            known = ", ".join(f"{model} on {gpu}" for model, gpu in KNOWN_RATES)
            raise UsageError(f"what {name[0]} takes on {name[1]} is not known ({known} are); give --samples-per-second")
        rate = KNOWN_RATES[name]
    try:
        return Training(wanted.nodes, wanted.gpus, wanted.workers, rate, wanted.decodes)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _as_text(plan: LoadPlan, speed: DiskSpeed, node: NodeSpeed, training: Training, sample_bytes: float) -> str:
    least, most = plan.samples_per_shard
    each = f"{least:,}" if least == most else f"{least:,} or {most:,}"
    lines = [
        f"measured   disk {speed.streams / 1e9:.2f} GB/s in sequence ({speed.stream_count} streams), "
        f"{speed.one_stream / 1e9:.2f} with one, {speed.random_samples / 1e9:.2f} at random",
        f"           a core loads {node.decode:,.0f} samples/s and decodes them, {node.tars:,.0f} undecoded; "
        f"{node.cores} cores",
        f"samples    {plan.samples:,} of {sample_bytes / 1e3:,.1f} kB",
        f"shards     {plan.shards:,} of {plan.shard_bytes / 2**20:,.0f} MiB, {each} samples; "
        f"{training.nodes * training.gpus} ranks x {training.workers} workers read them",
        f"           decided by {plan.because}",
        f"reads      {plan.samples_per_s:,.0f} samples/s: {plan.binds} binds",
        *(f"           {name:<7}{rate:>12,.0f} samples/s" for name, rate in plan.by_resource.items()),
        f"lifted by  {plan.lift}",
    ]
    if plan.stage_in_s is not None:
        lines.append(f"stage-in   {plan.stage_in_s / 60:,.1f} minutes a node")
    lines += [f"note       {note}" for note in (*plan.notes, *([speed.note] if speed.note else []))]
    auto = f"gpus: {training.gpus}, nodes: {training.nodes}, workers: {training.workers}"
    auto += f", samples_per_s: {training.samples_per_s:g}"
    lines.append(f"recipe     shards: {{count: {plan.shards}}}, or shards: {{auto: {{{auto}}}}}")
    return "\n".join(lines)


def _as_json(plan: LoadPlan, speed: DiskSpeed, node: NodeSpeed, sample_bytes: float) -> str:
    told: dict[str, Any] = {
        "shards": plan.shards,
        "because": plan.because,
        "samples": plan.samples,
        "samples_per_shard": list(plan.samples_per_shard),
        "sample_bytes": round(sample_bytes, 1),
        "shard_bytes": round(plan.shard_bytes),
        "samples_per_s": plan.samples_per_s,
        "by_resource": plan.by_resource,
        "binds": plan.binds,
        "lift": plan.lift,
        "stage_in_s": plan.stage_in_s,
        "notes": list(plan.notes),
        "disk": asdict(speed),
        "decode_samples_per_s_a_core": node.decode,
        "tars_samples_per_s_a_core": node.tars,
        "cores": node.cores,
    }
    return json.dumps(told, indent=1)
