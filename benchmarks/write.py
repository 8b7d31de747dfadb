"""How fast shards are written from a spool that is there: one command, four ratios.

A pool of real photographs of 256 pixels is fetched into a spool by a real build; then the writing alone is repeated:
the rows' columns read, images gathered by reference, records encoded, tars, sums, indexes, metadata, every file synced,
and the seal of the dataset (sizes, wids' list, Energon's folder, card, manifest). Against it ``cp --reflink=never``,
``sha256sum`` and ``sync`` of the dataset's files one after the other, webdataset's ShardWriter with a sync, two
processes in place of one, and what the disk takes from memory. With ``--memory-share 0.5`` all of them run in a cgroup
of half as much memory as the spool has bytes, and begin with nothing of it in the page cache. Always exits 0; the bars
are told.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl
import yaml
from measure import Bar, print_machine, settle
from memory_limit import forget, memory_limit
from photo_pool import DATA, ROOT, alone, commented, example_module

from pairmill.pipeline.build import run_build
from pairmill.pipeline.prepare import prepare
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.recipe import load_recipe
from pairmill.pipeline.seal import seal
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.runners.submit import run_on
from pairmill.transforms.bucket_order import IMAGES, move_plan
from pairmill.transforms.shard_order import load_orders
from pairmill.transforms.wiring.build_dataset import BuildDataset

#: 1.2 times the time.
COPY = Bar("cp + sha256sum + sync against one process", 1 / 1.2)
PEER = Bar("webdataset's ShardWriter + sync against one process", 1.3)
SECOND = Bar("two processes against one", 1.7)
EDGE = 256


def lay_pool(folder: Path, pairs: int, shards: dict[str, object]) -> Path:
    """Photographs of 256 pixels, each file of other bytes, and the table that names them."""
    photographs = example_module("photographs").read_photographs(DATA, seed=0)
    bodies, captions = [], []
    for photo in photographs:
        picture = photo.open()
        picture.thumbnail((EDGE, EDGE))
        body = io.BytesIO()
        picture.save(body, "JPEG", quality=95)
        bodies.append(body.getvalue())
        captions.append(photo.captions)
    paths = []
    for number in range(pairs):
        path = folder / "photographs" / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(commented(bodies[number % len(bodies)], number))
        paths.append(path.relative_to(folder).as_posix())
    texts = [captions[n % len(bodies)][n // len(bodies) % len(captions[n % len(bodies)])] for n in range(pairs)]
    pl.DataFrame({"path": paths, "caption": texts}).write_parquet(folder / "pool.parquet")
    recipe = {
        "name": "write",
        "pool": {"path": str(folder / "pool.parquet"), "image_root": str(folder), "block_rows": 2000},
        "image": {"resize_mode": "no"},
        "shards": {"target_bytes": 64 << 20, "multiple_of": 2, **shards},
        "duplicates": {"url": "off", "sha256": "off", "near": "off"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "recipe.yaml"


@dataclass(frozen=True)
class Took:
    """Seconds by the clock, and of processor in all processes."""

    wall: float
    processor: float


class Writing:
    """The same dataset written again and again."""

    def __init__(self, prepared: Prepared, folder: Path, under: list[str]) -> None:
        self._prepared, self._folder, self._under = prepared, folder, under
        job = prepared.job
        self.shards = load_orders(job.parts / "orders.npz")["train"].shards
        self.spool = [*job.fetch_store.spool_folder.glob("*/*.tar"), *(job.parts / IMAGES).glob("*/*")]
        self.state = folder / "state.pickle"
        self.copy = folder / "copy"
        seal(prepared, "benchmark", 0.0)
        size = sum(path.stat().st_size for path in job.dataset.rglob("*") if path.is_file())
        shutil.copytree(job.dataset, folder / "reference")
        self.bytes = size
        self.two_passes = move_plan(job).two_passes
        told = {"job": job, "shards": self.shards, "bytes": size}
        told |= {name: str(folder / name) for name in ("webdataset", "disk")}
        self.state.write_bytes(pickle.dumps(told))

    def ours(self, processes: int) -> Took:
        """The shards written by so many processes, and the dataset sealed."""
        job = self._prepared.job
        shutil.rmtree(job.dataset)
        shutil.rmtree(job.shard_log, ignore_errors=True)
        job.dataset.mkdir()
        bounds = [self.shards * number // processes for number in range(processes + 1)]

        def end() -> None:
            seal(self._prepared, "benchmark", 0.0)

        return self._timed("ours", bounds, end)

    def moved(self) -> Took:
        """Images brought together for a global order in two passes; what is there already is replaced by the same."""
        shutil.rmtree(self._prepared.job.shard_log, ignore_errors=True)  # images of finished shards would stay
        return self._timed("move", [0, self._prepared.job.lane_plan().lanes])

    def webdataset(self) -> Took:
        """The same members by webdataset's writer, in one process."""
        with self._room("webdataset"):
            return self._timed("webdataset", [0, self.shards])

    def disk(self, processes: int) -> Took:
        """As many bytes from memory."""
        with self._room("disk"):
            return self._timed("disk", [self.shards * number // processes for number in range(processes + 1)])

    def copied(self) -> Took:
        """``cp``, ``sha256sum`` and ``sync`` of the dataset's files."""
        with self._room("copy") as out:
            self._fresh([path for path in (self._folder / "reference").rglob("*") if path.is_file()])
            script = (
                'cp -r --reflink=never "$1/." "$2" && find "$2" -type f -print0 | xargs -0 sha256sum > "$3" '
                '&& find "$2" -type f -print0 | xargs -0 sync && find "$2" -type d -print0 | xargs -0 sync'
            )
            command = ["sh", "-c", script, "sh", str(self._folder / "reference"), str(out), str(self._folder / "sums")]
            started = time.perf_counter()
            subprocess.run([*self._under, *command], check=True)
            return Took(time.perf_counter() - started, 0.0)

    def verify(self) -> None:
        """What was written last must be the reference, byte for byte."""
        one, other = self._prepared.job.dataset, self._folder / "reference"
        command = ["diff", "-rq", str(one), str(other)]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{one} is not what the first build wrote")

    def _timed(self, how: str, bounds: Sequence[int], end: Callable[[], None] = lambda: None) -> Took:
        self._fresh(self.spool)
        script = str(Path(__file__).with_name("write_part.py"))
        started = [
            subprocess.Popen(
                [*self._under, sys.executable, script, how, str(self.state), str(first), str(stop)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for first, stop in pairwise(bounds)
        ]
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit(f"a process that writes by {how} did not start")
        begun = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate()[0] for process in started]
        if any(process.returncode for process in started):
            raise SystemExit(f"a process that writes by {how} failed")
        end()
        wall = time.perf_counter() - begun
        return Took(wall, sum(map(float, told)))

    def _fresh(self, read: Sequence[Path]) -> None:
        """What earlier runs wrote is on the disk; under a limit of memory, what is read is nowhere else."""
        settle()
        if self._under:
            forget(iter(read))
        else:
            for path in read:
                with path.open("rb", buffering=0) as file:
                    while file.read(1 << 24):
                        pass

    @contextmanager
    def _room(self, name: str) -> Iterator[Path]:
        out = self._folder / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        try:
            yield out
        finally:
            shutil.rmtree(out)


def compare(writing: Writing, repeats: int) -> None:
    """All in turn, so that a busy minute is everybody's."""
    runs: dict[str, list[Took]] = {}
    kinds: dict[str, Callable[[], Took]] = {
        "cp + sha256sum + sync": writing.copied,
        "one process": lambda: writing.ours(1),
        "two processes": lambda: writing.ours(2),
        "webdataset's ShardWriter + sync": writing.webdataset,
        "the disk from memory, one stream": lambda: writing.disk(1),
        "the disk from memory, two streams": lambda: writing.disk(2),
    }
    if writing.two_passes:
        kinds = {"bringing images together first": writing.moved, **kinds}
    for _ in range(repeats):
        for name, run in kinds.items():
            took = run()
            runs.setdefault(name, []).append(took)
            rate = writing.bytes / took.wall / 1e6
            print(f"  {name}: {took.wall:.2f} s ({took.processor:.2f} s of processor), {rate:,.0f} MB/s", flush=True)
            if name.endswith(("one process", "two processes")):
                writing.verify()
    one = runs["one process"]

    def against(name: str, over: Sequence[Took]) -> list[float]:
        return [a.wall / b.wall for a, b in zip(runs[name], over, strict=True)]

    print(COPY.told(against("cp + sha256sum + sync", one)))
    print(PEER.told(against("webdataset's ShardWriter + sync", one)))
    print(SECOND.told(against("one process", runs["two processes"])))
    cores = len(os.sched_getaffinity(0))
    busy = [took.processor / took.wall / cores for took in runs["two processes"]]
    print(f"two processes kept {', '.join(f'{share:.2f}' for share in busy)} of {cores} cores busy (1: the cores bind)")
    disk = [b.wall / a.wall for a, b in zip(runs["the disk from memory, one stream"], one, strict=True)]
    print(f"one process against the disk alone: {', '.join(f'{1 / ratio:.3f}' for ratio in disk)} of its rate")


def main() -> None:
    """Lay the pool, make a build, repeat its writing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--order", default="blocks:16", help="of the samples: blocks:G or global")
    parser.add_argument("--random-read-bytes", type=int, help="of the recipe: above, a global order takes two passes")
    parser.add_argument("--memory-share", type=float, help="of the spool's bytes, in a cgroup (default: no limit)")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "write")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    print_machine()
    with alone(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            shards = {"order": arguments.order, "random_read_bytes": arguments.random_read_bytes}
            recipe = load_recipe(lay_pool(folder, arguments.pairs, shards))
            prepared = prepare(recipe, folder / "build", folder / "work", lanes=2)

            def execute(ready: Prepared) -> None:
                run_on(RunnerChoice(workers=2), ready.segments, BuildDataset(ready.job), ready.job)
                shutil.rmtree(folder / "photographs")
                spool = sum(path.stat().st_size for path in ready.job.fetch_store.spool_folder.glob("*/*.tar"))
                share = arguments.memory_share
                with nullcontext([]) if share is None else memory_limit(int(spool * share)) as under:
                    writing = Writing(ready, folder, under)
                    limit = "" if share is None else f", {share * spool / 1e9:.2f} GB of memory"
                    print(
                        f"{arguments.pairs:,} pairs, {writing.shards} shards, {writing.bytes / 1e9:.2f} GB, "
                        f"{writing.bytes / arguments.pairs / 1e3:.1f} kB a sample{limit}",
                        flush=True,
                    )
                    compare(writing, arguments.repeats)

            run_build(prepared, folder / "work", execute)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
