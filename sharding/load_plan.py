"""How many shards of which size a training run wants, what binds its data loading, and what would lift that.

Pure arithmetic. Rates of the disk and of decoding are measured elsewhere; what a GPU takes is told by its owner or read
from `KNOWN_RATES`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Seconds that a loader worker is busy with one shard: long enough that opening costs nothing, short enough that a run
#: that is killed repeats little.
SHARD_S = 60.0
LEAST_BYTES, MOST_BYTES = 64 << 20, 1 << 30
#: Energon warns above so many shards.
MOST_SHARDS = 10_000
#: Shards a rank's worker has, so that ragged ends of an epoch are a small part of it.
SHARDS_PER_WORKER = 8

#: Samples a second that one GPU trains a CLIP with, by model and GPU: open_clip's PRETRAINED.md (GPU hours of its runs
#: over samples seen, A100 with 40 GB).
KNOWN_RATES: dict[tuple[str, str], float] = {
    ("ViT-B-32", "A100"): 787.0,
    ("ViT-B-16", "A100"): 338.0,
    ("ViT-L-14", "A100"): 71.0,
}


@dataclass(frozen=True)
class Training:
    """Who reads. ``samples_per_s``: what one GPU trains with when data never waits."""

    nodes: int = 1
    gpus: int = 8  # of a node
    workers: int = 8  # loader processes of a GPU
    samples_per_s: float = KNOWN_RATES["ViT-B-32", "A100"]
    decodes: bool = True  # the loader workers; else the GPU does

    def __post_init__(self) -> None:
        for name in ("nodes", "gpus", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.samples_per_s > 0 or not math.isfinite(self.samples_per_s):
            raise ValueError(f"samples_per_s must be above 0, not {self.samples_per_s}")

    @property
    def readers(self) -> int:
        """Loader workers of all ranks."""
        return self.nodes * self.gpus * self.workers

    def busy_cores(self, cores: int) -> int:
        """How many of a node's cores its loader workers keep busy: a worker uses one."""
        return min(cores, self.gpus * self.workers)


@dataclass(frozen=True)
class NodeSpeed:
    """What a node gives.

    disk: bytes a second; decode: samples a second of one core, all loading included; tars: samples a second that a
    loader worker on a core of its own takes out of shards from the disk and does not decode.
    """

    disk: float
    decode: float
    cores: int
    tars: float = math.inf
    capacity: float = math.inf  # bytes of local disk for the dataset
    remote: float | None = None  # bytes a second from the store that the dataset is staged in from


@dataclass(frozen=True)
class LoadPlan:
    """The plan of one dataset and one training run."""

    shards: int
    because: str  # what made it so many
    samples: int
    shard_bytes: float  # of the largest shard, about
    by_resource: dict[str, float]  # samples a second of all nodes, if nothing else bound
    binds: str
    lift: str
    stage_in_s: float | None
    notes: tuple[str, ...]

    @property
    def samples_per_s(self) -> float:
        """What all nodes together will read."""
        return self.by_resource[self.binds]

    @property
    def samples_per_shard(self) -> tuple[int, int]:
        """The fewest and the most samples of a shard."""
        return self.samples // self.shards, -(-self.samples // self.shards)


def plan_load(samples: int, sample_bytes: float, training: Training, node: NodeSpeed) -> LoadPlan:
    """The plan for so many samples of so many bytes each (with tar headers). Raises ValueError for an empty dataset."""
    if samples < 1 or not sample_bytes > 0:
        raise ValueError(f"no plan for {samples} samples of {sample_bytes} bytes")
    cores = training.nodes * training.busy_cores(node.cores)
    by_resource = {
        "gpu": training.nodes * training.gpus * training.samples_per_s,
        "disk": training.nodes * node.disk / sample_bytes,
        "tars": cores * node.tars,
    }
    if training.decodes:
        by_resource["decode"] = cores * node.decode
    binds = min(by_resource, key=lambda name: by_resource[name])
    chosen = choose_shards(samples, sample_bytes, training)
    notes = list(chosen.notes)
    whole = samples * sample_bytes
    if whole > node.capacity:
        notes.append(
            f"the dataset ({whole / 1e9:,.1f} GB) does not fit the disk of a node ({node.capacity / 1e9:,.1f} GB): "
            f"give each node a part (--subset), or read from the store"
        )
        if node.remote is not None and node.remote < node.disk:
            by_resource["store"] = training.nodes * node.remote / sample_bytes
            binds = min(by_resource, key=lambda name: by_resource[name])
    return LoadPlan(
        shards=chosen.shards,
        because=chosen.because,
        samples=samples,
        shard_bytes=whole / chosen.shards,
        by_resource=by_resource,
        binds=binds,
        lift=_lift(binds, by_resource, training, node, sample_bytes),
        stage_in_s=None if node.remote is None else min(whole, node.capacity) / node.remote,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class ShardChoice:
    """How many shards, which demand made it so many (``because``), and what their readers should know."""

    shards: int
    because: str
    notes: tuple[str, ...] = ()


def choose_shards(samples: int, sample_bytes: float, training: Training) -> ShardChoice:
    """How many shards a training run wants of so many samples of so many bytes each (with tar headers).

    About a minute of a loader worker's reading, between 64 MiB and 1 GiB, and a multiple of the loader workers of all
    ranks: eight for each where shards of 64 MiB allow it, one at least.
    """
    notes: list[str] = []
    per_worker = training.samples_per_s / training.workers
    minute = per_worker * sample_bytes * SHARD_S
    target = min(max(minute, LEAST_BYTES), MOST_BYTES)
    readers = training.readers
    wanted = samples * sample_bytes / target
    what = "a minute of a loader worker's reading"
    because = f"shards of {target / 2**20:,.0f} MiB, {what if target == minute else f'the bound for {what}'}"
    if SHARDS_PER_WORKER * readers > wanted:
        wanted, because = (
            SHARDS_PER_WORKER * readers,
            f"{SHARDS_PER_WORKER} shards for each of {readers} loader workers",
        )
    count = math.ceil(wanted / readers) * readers
    most = samples * sample_bytes / LEAST_BYTES
    if count > most:
        count = max(readers, math.floor(most / readers) * readers)
        because = f"shards of at least {LEAST_BYTES >> 20} MiB"
        if count > most:
            because = f"a shard for each of {readers} loader workers"
            notes.append(
                f"shards are smaller than {LEAST_BYTES >> 20} MiB, so that each of {readers} loader workers has one; "
                "fewer workers read larger ones"
            )
    if count > samples:
        count, because, notes = samples // readers * readers or samples, "the samples: no shard may be empty", []
    if count % readers:
        notes.append(f"{samples:,} samples are too few for a shard for each of {readers} loader workers")
    if count > MOST_SHARDS:
        notes.append(f"Energon warns above {MOST_SHARDS:,} shards")
    return ShardChoice(count, because, tuple(notes))


def _lift(binds: str, by_resource: dict[str, float], training: Training, node: NodeSpeed, sample_bytes: float) -> str:
    need = by_resource["gpu"] / training.nodes
    if binds == "gpu":
        return "nothing: the GPUs are kept busy"
    if binds in ("decode", "tars"):
        return _lift_processors(binds, need, training, node)
    if binds == "disk":
        return (
            f"{need * sample_bytes / 1e9:,.2f} GB/s a node would keep the GPUs busy, the disk reads "
            f"{node.disk / 1e9:,.2f}: a further NVMe disk in a stripe, or smaller images"
        )
    return f"{need * sample_bytes / 1e9:,.2f} GB/s a node from the store, or a local disk that holds the dataset"


def _lift_processors(binds: str, need: float, training: Training, node: NodeSpeed) -> str:
    wanted = math.ceil(need / (node.decode if binds == "decode" else node.tars))
    if wanted <= node.cores:
        more = f"{math.ceil(wanted / training.gpus)} loader workers a GPU in place of {training.workers}"
    else:
        more = f"{wanted} cores a node in place of {node.cores}"
        if training.gpus * training.workers < wanted:
            more += ", each with a loader worker,"
    if binds == "decode":
        other = "store smaller images (image.size a little above the training resolution), or decode on the GPU"
    else:
        other = "a loader that takes less to read a tar than webdataset does (Energon, DALI, SPDL)"
    return f"{more} would keep the GPUs busy; or {other}"
