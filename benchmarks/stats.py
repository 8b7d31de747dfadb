"""What looking at shards costs: one command, three ratios.

- ``shard-stats --scan`` (members, keys, captions, records, sizes of images) of shards as img2dataset writes them
  against ``tar -tf`` of the same files, a process each
- ``shard-stats --verify`` of a pairmill dataset of the same samples against ``sha256sum`` of its files, bytes a second
- the statistics of the metadata of many samples against the same aggregates by Polars alone

Page cache warm, whole processes, start-up included, in turn. Always exits 0; the bars are told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import webdataset as wds
from measure import Bar, pairmill, print_machine, ratios, settle, timed
from photo_pool import ROOT, lay_photographs, scratch

SCAN = Bar("time of tar -tf against shard-stats --scan", 1 / 3)
VERIFY = Bar("sha256sum's time against shard-stats --verify", 0.8)
TABLE = Bar("time of the aggregates in Polars against shard-stats over the metadata", 0.5)
PER_SHARD = 10_000
POLARS = """
import sys, polars as pl
rows = pl.scan_parquet(sys.argv[1] + "/metadata/*.parquet").select("width", "height", "lang", "caption")
length = pl.col("caption").str.len_chars()
sizes = rows.select("width", "height", aspect=pl.col("width") / pl.col("height"), length=length)
frame = sizes.collect()
print(frame.describe(), [frame[name].hist(bin_count=16) for name in frame.columns])
print(rows.group_by("lang").len().collect())
"""


def write_shards(folder: Path, samples: int) -> None:
    """Shards of photographs as img2dataset writes them: small ones, so that there are many samples."""
    photographs = folder / "photographs"
    captions, _ = lay_photographs(photographs, 2_000, ("clothing",), 0)
    bodies = [path.read_bytes() for path in sorted(photographs.glob("*/*.jpg"))]
    (folder / "shards").mkdir()
    for start in range(0, samples, PER_SHARD):
        with wds.TarWriter(str(folder / "shards" / f"{start // PER_SHARD:05d}.tar")) as writer:
            for number in range(start, min(start + PER_SHARD, samples)):
                caption = captions[number % len(captions)]
                record = {"uid": f"{number:032x}", "caption": caption, "lang": "en", "width": 512, "height": 384}
                writer.write(
                    {
                        "__key__": f"{number:012d}",
                        "jpg": bodies[number % len(bodies)],
                        "txt": caption.encode(),
                        "json": json.dumps(record).encode(),
                    }
                )
    shutil.rmtree(photographs)


def widen_metadata(dataset: Path, samples: int) -> None:
    """A folder that has nothing but one tar, and metadata of many samples."""
    chance = np.random.default_rng(0)
    (dataset / "metadata").mkdir(parents=True)
    for start in range(0, samples, 500_000):
        count = min(500_000, samples - start)
        width = chance.integers(200, 2000, count).astype(np.int32)
        pl.DataFrame(
            {
                "key": [f"{i:032x}" for i in range(start, start + count)],
                "width": width,
                "height": chance.integers(200, 2000, count).astype(np.int32),
                "lang": np.array(["en", "de", "fr"])[chance.integers(0, 3, count)],
                "caption": [f"caption {start + i} of {n} words and some more" for i, n in enumerate(width.tolist())],
            }
        ).write_parquet(dataset / "metadata" / f"{start:09d}.parquet")


def stats() -> list[str]:
    """The command."""
    return [str(Path(pairmill()).with_name("shard-stats"))]


def main() -> None:
    """Write the shards, run each pair in turn, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the metadata")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "stats")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    print_machine()
    with scratch(folder):
        compare(folder, arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """All three, in turn."""
    log = folder / "log"
    write_shards(folder, arguments.samples)
    tars = sorted(map(str, (folder / "shards").glob("*.tar")))
    scans, lists = [], []
    for _ in range(arguments.repeats):
        lists.append(timed(["sh", "-c", 'for tar; do tar -tf "$tar"; done', "sh", *tars], log))
        scans.append(timed([*stats(), str(folder / "shards"), "--scan", "--processes", "1", "--json"], log))
        print(f"  tar -tf {lists[-1]}, --scan {scans[-1]} for {arguments.samples:,} samples", flush=True)
    print(SCAN.told(ratios(lists, scans)), flush=True)
    subprocess.run([pairmill(), "reshard", str(folder / "shards"), str(folder / "ours"), "--quiet"], check=True)
    shutil.rmtree(folder / "shards")
    settle()
    sums, verified = [], []
    files = sorted(str(path) for path in (folder / "ours").rglob("*") if path.is_file())
    for _ in range(arguments.repeats):
        # Both use all cores.
        sums.append(
            timed(["sh", "-c", 'printf "%s\\0" "$@" | xargs -0 -n 1 -P "$(nproc)" sha256sum', "sh", *files], log)
        )
        verified.append(timed([*stats(), str(folder / "ours"), "--verify", "--json"], log))
        print(f"  sha256sum {sums[-1]}, --verify {verified[-1]}", flush=True)
    print(VERIFY.told(ratios(sums, verified)), flush=True)
    shutil.rmtree(folder / "ours")
    table = folder / "table"
    widen_metadata(table, arguments.rows)
    with wds.TarWriter(str(table / "train-00000-of-00001.tar")) as writer:
        writer.write({"__key__": "0", "txt": b"one"})
    settle()
    time.sleep(1)
    ours, polars = [], []
    for _ in range(arguments.repeats):
        polars.append(timed([sys.executable, "-c", POLARS, str(table)], log))
        ours.append(timed([*stats(), str(table), "--json"], log))
        print(f"  Polars {polars[-1]}, shard-stats {ours[-1]} for {arguments.rows:,} rows", flush=True)
    print(TABLE.told(ratios(polars, ours)), flush=True)


if __name__ == "__main__":
    main()
