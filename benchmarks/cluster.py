"""The same pool on this machine and on a Flink cluster on it: wall time, and the memory of the Java processes.

``pairmill run`` with two workers against ``pairmill run --runner flink`` on a session cluster of two task managers with
a pool of workers each. Services are up before; a run is timed from its start to its end, with the job server's start.
Real photographs, no two with the same bytes, over real HTTP: nginx and the Java processes share the cores with what is
measured. Datasets must be the same to the byte. Then the memory of the Java processes is told for a quarter of the
pool and for the whole, each on a new cluster. Always exits 0; the bars are told.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
from measure import Bar, Took, pairmill, print_machine, rates, ratios, settle, timed
from photo_pool import ROOT, PhotoPool, served_photographs
from spine import write_recipe

sys.path.insert(0, str(ROOT / "examples" / "flink"))
from session_cluster import SessionCluster, session_cluster

FLINK = ROOT / ".flink"
TASK_MANAGERS = 2
#: At most 1.5 times the local run's time.
TIME = Bar("two local workers against Flink (local seconds / Flink seconds)", 1 / 1.5)
#: Memory that does not grow with the pool's bytes: at most a tenth more for four times of them.
GROWTH = 1.1
LOOK_S = 1.0


@dataclass
class JavaMemory:
    """The most that the Java processes of a cluster had while the block lasted, in MiB: resident, and heap in use."""

    cluster: SessionCluster
    resident: dict[str, float] = field(default_factory=dict)
    heap: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> JavaMemory:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_S):
            for name, process in self.cluster.processes.items():
                if not name.startswith("pool-"):
                    kind = name.rstrip("-0123456789")
                    self._note(self.resident, kind, _resident_mib(process.pid))
            for kind, path in self._services():
                self._note(self.heap, kind, self._metric(path, "Status.JVM.Memory.Heap.Used"))

    def _services(self) -> list[tuple[str, str]]:
        managers = self.cluster.asked("/taskmanagers")["taskmanagers"]
        services = [("task-manager", f"/taskmanagers/{manager['id']}/metrics") for manager in managers]
        return [("job-manager", "/jobmanager/metrics"), *services]

    def _metric(self, path: str, name: str) -> float:
        found: list[dict[str, Any]] = self.cluster.asked(f"{path}?get={name}")
        return float(found[0]["value"]) / 2**20 if found else 0.0

    @staticmethod
    def _note(most: dict[str, float], kind: str, value: float) -> None:
        most[kind] = max(most.get(kind, 0.0), value)


def _resident_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


class Runs:
    """The two ways to make the same dataset."""

    def __init__(self, folder: Path, recipe: Path) -> None:
        self._folder, self._recipe = folder, recipe
        self._digests: set[str] = set()

    def local(self) -> Took:
        """Time of two workers of this machine."""
        return self._timed("local", ["--workers", str(TASK_MANAGERS)])

    def flink(self, cluster: SessionCluster, pool: Path | None = None) -> Took:
        """Time on the cluster; ``pool`` in place of the recipe's."""
        options = ["--runner", "flink", "--flink-master", cluster.master, "--worker-pool", cluster.worker_pool]
        options += ["--job-server-jar", str(FLINK / "job-server.jar"), "--workers", str(TASK_MANAGERS)]
        return self._timed("flink", [*options, *(["--pool", str(pool)] if pool else [])], check=pool is None)

    def _timed(self, name: str, options: list[str], check: bool = True) -> Took:
        out = self._folder / name
        settle()
        command = [pairmill(), "run", str(self._recipe), "--out", str(out), "--no-space-check", *options]
        took = timed(command, self._folder / "runs.log")
        if check:
            self._digests.add(_digest(out / "dataset"))
            if len(self._digests) != 1:
                raise SystemExit("the runs did not make the same dataset")
        shutil.rmtree(out)
        return took


def _digest(dataset: Path) -> str:
    """sha256 over names and sha256 of all files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in dataset.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.relative_to(dataset).as_posix().encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@contextmanager
def new_cluster(folder: Path) -> Iterator[SessionCluster]:
    """A session cluster; ends the program where Flink is not here."""
    if not (FLINK / "job-server.jar").is_file():
        raise SystemExit("Flink is not here: run: make .flink/.ready")
    with session_cluster(folder / "cluster", FLINK / "packages" / "pyflink", TASK_MANAGERS) as cluster:
        yield cluster


def compare_times(folder: Path, runs: Runs, pool: PhotoPool, repeats: int) -> None:
    """Run both in turn on one cluster and print the ratio."""
    local: list[Took] = []
    flink: list[Took] = []
    with new_cluster(folder) as cluster:
        for number in range(repeats):
            local.append(runs.local())
            flink.append(runs.flink(cluster))
            loads = ", ".join(f"{value:.1f}" for value in os.getloadavg())
            print(f"pass {number + 1}: local {local[-1]}, Flink {flink[-1].wall:.1f} s; load {loads}", flush=True)
    print(f"the same dataset of {pool.rows:,} pairs in every run, {pool.mean_bytes / 1e3:.0f} KB an image")
    print(rates("two local workers", local, pool.rows))
    print(f"Flink: median {sorted(took.wall for took in flink)[len(flink) // 2]:.1f} s")
    print(TIME.told(ratios(local, flink)))


def compare_memory(folder: Path, runs: Runs, pool: PhotoPool) -> None:
    """The memory of the Java processes for a quarter of the pool, and for all of it."""
    quarter = folder / "quarter.parquet"
    pl.read_parquet(pool.table).head(pool.rows // 4).write_parquet(quarter)
    told = []
    for name, table, rows in (("a quarter", quarter, pool.rows // 4), ("the whole", pool.table, pool.rows)):
        with new_cluster(folder) as cluster, JavaMemory(cluster) as memory:
            runs.flink(cluster, table)
        gigabytes = rows * pool.mean_bytes / 1e9
        for kind, resident in memory.resident.items():
            heap = memory.heap.get(kind, 0.0)
            print(f"{name}, {gigabytes:.2f} GB of images: {kind}: {resident:.0f} MiB resident, {heap:.0f} of heap")
        told.append(sum(memory.resident.values()))
    verdict = "met" if told[1] <= GROWTH * told[0] else "missed"
    print(f"Java's memory, four times the images: {told[1] / told[0]:.3f} times; bar {GROWTH}: {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "cluster")
    arguments = parser.parse_args()
    print_machine()
    with served_photographs(arguments.folder, arguments.pairs) as pool:
        recipe = arguments.folder / "recipe.yaml"
        write_recipe(recipe, pool)
        runs = Runs(arguments.folder, recipe)
        compare_times(arguments.folder, runs, pool, arguments.repeats)
        compare_memory(arguments.folder, runs, pool)


if __name__ == "__main__":
    main()
