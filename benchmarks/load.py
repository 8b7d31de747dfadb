"""What trainers read of our shards from a cold disk, against plain reads, other shard sizes and loose files.

    python benchmarks/load.py

Photographs are laid in shards of 64 MiB, 256 MiB and 1 GiB, as tars of webdataset's own writer, and as loose files.
With as many processes as cores, the page cache emptied of the files before each: webdataset's loader without decoding,
over its writer's tars and over ours; plain reads of our shards; a read of each sample by Energon's index; the loose
files in the order of their names and shuffled. Then what ``pairmill plan-shards`` predicts for this machine against
what ``shard-stats --bench`` measures, decoded and not. The rate "alone" leaves out the time that a process was ready
and other programs had the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import webdataset as wds
from measure import Bar, pairmill, print_machine, settle
from photo_pool import ROOT, commented, lay_photographs, scratch

from pairmill.transforms.loader_probe import Loaders, Read, Reading, drop_cache

PLAIN = Bar("webdataset's loader over 256 MiB shards against plain reads of them, cold, bytes a second", 0.9)
INDEX = Bar("reads by Energon's index of 256 MiB shards against plain reads of them, cold, bytes a second", 0.9)
PLAN = {
    "decoded": Bar("plan-shards' prediction and shard-stats --bench, decoded, the smaller by the greater", 0.8),
    "undecoded": Bar("plan-shards' prediction and shard-stats --bench, not decoded, the smaller by the greater", 0.8),
}
SIZES = {"64 MiB": 64 << 20, "256 MiB": 256 << 20, "1 GiB": 1 << 30}
PHOTOGRAPHS = 3_000


def write_samples(folder: Path, samples: int) -> None:
    """Shards as a pool has them, no two samples alike, and the same samples as loose files."""
    captions, _ = lay_photographs(folder / "photographs", PHOTOGRAPHS, ("coco", "clothing"), 0)
    bodies = [path.read_bytes() for path in sorted((folder / "photographs").glob("*/*.jpg"))]
    shutil.rmtree(folder / "photographs")
    (folder / "source").mkdir()
    for start in range(0, samples, 1000):
        loose = folder / "loose" / f"{start // 1000:04d}"
        loose.mkdir(parents=True)
        with wds.TarWriter(str(folder / "source" / f"{start // 1000:05d}.tar")) as writer:
            for number in range(start, min(start + 1000, samples)):
                key, caption = f"{number:012d}", captions[number % PHOTOGRAPHS]
                record = {"uid": f"{number:032x}", "caption": caption, "lang": "en", "width": 640, "height": 480}
                sample = {
                    "jpg": commented(bodies[number % PHOTOGRAPHS], number),
                    "txt": caption.encode(),
                    "json": json.dumps(record).encode(),
                }
                writer.write({"__key__": key, **sample})
                for ext, data in sample.items():
                    (loose / f"{key}.{ext}").write_bytes(data)


class Bench:
    """The ways of reading. ``workers``: processes at a time."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.workers = folder, workers

    def webdataset(self, tars: Sequence[Path]) -> Read:
        """All samples once, not decoded; bytes with headers, as plain reads count them."""
        with Loaders(tars, self.workers) as loaders:
            read = loaders.read(Reading(seconds=3600, edge=None, cold=True))
        return replace(read, bytes=sum(path.stat().st_size for path in tars))

    def part(self, way: str, paths: Sequence[Path]) -> Read:
        """All of them once, by ``load_part.py``."""
        exts = ("jpg", "txt", "json") if way == "loose" else ("tar",)
        drop_cache([path.with_suffix(f".{ext}") for path in paths for ext in exts])
        processes = []
        for number in range(self.workers):
            listed = self.folder / f"paths-{number}"
            listed.write_text("".join(f"{path}\n" for path in paths[number :: self.workers]))
            command = [sys.executable, str(Path(__file__).with_name("load_part.py")), way, str(listed)]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        told = [json.loads(process.communicate()[0]) for process in processes]
        samples, size, seconds, processor_s, queued_s = zip(*told, strict=True)
        count = 0 if way == "plain" else sum(samples)
        return Read(count, sum(size), max(seconds), sum(processor_s), sum(queued_s), self.workers)


def row(name: str, reads: Sequence[Read]) -> str:
    """One line: medians by the clock, and had no other program taken the cores."""
    rate, speed, alone, busy = (
        median(values)
        for values in (
            [read.samples_per_s for read in reads],
            [read.bytes_per_s / 1e6 for read in reads],
            [alone_bytes_per_s(read) / 1e6 for read in reads],
            [read.processor_s / read.seconds for read in reads],
        )
    )
    each = (
        f", {1e6 * median(read.processor_s / read.samples for read in reads):.0f} microseconds a sample" if rate else ""
    )
    samples = f"{rate:>9,.0f} samples/s" if rate else " " * 19
    return f"  {name:<28}{samples}{speed:>8,.0f} MB/s ({alone:,.0f} alone), {busy:.2f} cores busy{each}"


def alone_bytes_per_s(read: Read) -> float:
    """Of all workers, had no other program taken the cores from them."""
    return read.bytes / (read.seconds - read.queued_s / read.workers)


def main() -> None:
    """Lay the samples, read them every way, print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=40_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "load")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    print_machine()
    with scratch(folder):
        compare(folder, arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Every way in turn, and the plan."""
    write_samples(folder, arguments.samples)
    bench = Bench(folder, arguments.workers)
    theirs = sorted((folder / "source").glob("*.tar"))
    settle()
    print(row("tars of webdataset's writer", [bench.webdataset(theirs) for _ in range(arguments.repeats)]), flush=True)
    for name, size in SIZES.items():
        ours = folder / name
        command = [pairmill(), "reshard", str(folder / "source"), str(ours), "--target-bytes", str(size), "--quiet"]
        subprocess.run([*command, "--multiple-of", str(arguments.workers)], check=True)
        settle()
        compare_shards(name, sorted(ours.glob("*.tar")), bench, arguments.repeats)
        if name == "256 MiB":
            compare_plan(ours, arguments)
        shutil.rmtree(ours)
    images = sorted((folder / "loose").glob("*/*.jpg"))
    for name in ("by name", "shuffled"):
        if name == "shuffled":
            random.Random(0).shuffle(images)
        print(row(f"loose files, {name}", [bench.part("loose", images) for _ in range(arguments.repeats)]), flush=True)


def compare_shards(name: str, tars: Sequence[Path], bench: Bench, repeats: int) -> None:
    """Plain reads, webdataset's, and those by index, in turn."""
    plain, loaded, indexed = [], [], []
    for _ in range(repeats):
        plain.append(bench.part("plain", tars))
        loaded.append(bench.webdataset(tars))
        indexed.append(bench.part("index", tars))
    print(f"{len(tars)} shards of {name} and less, {bench.workers} processes, cold:")
    print(row("plain reads", plain))
    print(row("webdataset, not decoded", loaded))
    print(row("by Energon's index", indexed), flush=True)
    if name == "256 MiB":
        for bar, reads in ((INDEX, indexed), (PLAIN, loaded)):
            pairs = list(zip(reads, plain, strict=True))
            told = [one.bytes_per_s / other.bytes_per_s for one, other in pairs]
            print(bar.told(told))
            alone = median(alone_bytes_per_s(one) / alone_bytes_per_s(other) for one, other in pairs)
            print(f"    had no other program taken the cores: {alone:.3f}")
        if median(told) < PLAIN.least:
            print(binds(plain, loaded), flush=True)


def binds(plain: Sequence[Read], loaded: Sequence[Read]) -> str:
    """Why a loader reads less than plain reads do."""
    whole, here = (median(read.processor_s for read in reads) for reads in (plain, loaded))
    samples = loaded[0].samples
    return (
        f"  the processor binds: {1e6 * here / samples:.0f} microseconds of it a sample in the loader, "
        f"{1e6 * whole / samples:.0f} in plain reads; on cores of its own a worker reads "
        f"{median(read.samples_per_core_s for read in loaded):,.0f} samples/s, "
        f"{median(read.bytes / read.processor_s for read in loaded) / 1e6:,.0f} MB/s"
    )


def compare_plan(ours: Path, arguments: argparse.Namespace) -> None:
    """What is predicted and what is measured, in turn, by the clock and had no other program taken the cores."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in PLAN}
    workers = str(arguments.workers)
    plan = [pairmill(), "plan-shards", str(ours), "--gpus", "1", "--workers", workers, "--samples-per-second", "1e9"]
    stats = [sys.executable, "-m", "pairmill.runners.shard_stats", str(ours), "--bench", "--workers", workers, "--json"]
    for _ in range(arguments.repeats):
        measured = asked(stats)
        for name, options, key in (("decoded", [], "cold_decoded"), ("undecoded", ["--decode-on-gpu"], "cold")):
            predicted = asked([*plan, *options, "--json"])
            told = measured[key]
            alone = told["alone_samples_per_s"]
            found[name].append((predicted["samples_per_s"], told["samples_per_s"], alone))
            print(
                f"  {name}: predicted {predicted['samples_per_s']:,.0f} samples/s ({predicted['binds']} binds), "
                f"measured {told['samples_per_s']:,.0f} with {told['busy_cores']:.2f} of {arguments.workers} cores "
                f"busy; {alone:,.0f} had no other program taken them",
                flush=True,
            )
    for name, bar in PLAN.items():
        print(bar.told([min(a / b, b / a) for a, b, _ in found[name]]))
        alone = [min(a / c, c / a) for a, _, c in found[name]]
        print(f"    had no other program taken the cores: {median(alone):.3f}", flush=True)


def asked(command: Sequence[str]) -> Any:
    """The JSON that a command prints."""
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
