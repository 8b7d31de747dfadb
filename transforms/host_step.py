"""How the fetchers of one run share the hosts, so that ``fetch.per_host`` holds for all of them together.

While they are no more than ``per_host``, each has an equal part of it at every host. Where there are more, lanes tell
which hosts they want. A host that few lanes want is shared out among those. A **crowded** one, wanted by more lanes
than it may have requests, is left out and fetched behind all others by ``per_host`` fetchers with one request each.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl

from pairmill.sharding.exchange import read_partition, write_partitions
from pairmill.transforms.fetch.host_limits import HostLimits, host_number
from pairmill.transforms.fetch.urls import host_key
from pairmill.transforms.job import Job


def counts_hosts(job: Job) -> bool:
    """Whether fetchers are so many that they must know who else wants a host."""
    return job.fetchers > job.fetch.per_host


def write_hosts(job: Job, lane: int, urls: list[str]) -> None:
    """Tell the partitions which hosts a lane wants."""
    numbers = {host_number(host) for host in Counter(map(host_key, urls))}
    hosts = np.fromiter(numbers, dtype=np.uint64, count=len(numbers))
    frame = pl.DataFrame({"host": hosts}, schema={"host": pl.UInt64()}).with_columns(lane=pl.lit(lane, pl.UInt32()))
    partitions = job.lane_plan().partitions
    write_partitions(job.exchanged("hosts", lane), frame, (hosts % np.uint64(partitions)).astype(np.int64), partitions)


def find_hosts(job: Job, partition: int) -> None:
    """Tell each lane which of its hosts others want too, and how many lanes want them."""
    wanted = read_partition(job.all_exchanged("hosts"), partition)
    shared = wanted.with_columns(lanes=pl.len().over("host").cast(pl.UInt32())).filter(pl.col("lanes") > 1)
    lanes = shared.get_column("lane").to_numpy().astype(np.int64)
    frame = shared.select("host", "lanes")
    write_partitions(job.exchanged("host-lanes", partition), frame, lanes, job.lane_plan().lanes)


def limits_of_lane(job: Job, lane: int) -> HostLimits:
    """A lane's limit at each host; 0 at a crowded one."""
    if not counts_hosts(job):
        return HostLimits(max(1, job.fetch.per_host // job.fetchers))
    shared = read_partition(job.all_exchanged("host-lanes"), lane)
    limits = job.fetch.per_host // shared.get_column("lanes").cast(pl.Int64())
    return HostLimits(job.fetch.per_host, dict(zip(shared.get_column("host").to_list(), limits.to_list(), strict=True)))


def crowd_groups(job: Job) -> list[int]:
    """The groups of lanes whose crowded hosts are fetched together: as many as a host may have requests."""
    return list(range(min(job.fetch.per_host, job.lane_plan().lanes)))


def lanes_of_group(job: Job, group: int) -> list[int]:
    """The lanes of a group, every lane in one."""
    return list(range(group, job.lane_plan().lanes, len(crowd_groups(job))))
