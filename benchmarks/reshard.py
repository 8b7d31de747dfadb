"""How fast a subset is cut out of shards: one command, one ratio.

``pairmill reshard --subset FILE.npy`` against the method of DataComp's resharder: read every sample of every shard with
webdataset, parse its json for the uid, look it up in the sorted subset, write what is in it with webdataset's
ShardWriter. Both are one process, timed from its start to its last byte and a sync, page cache warm, in turn; the
samples that come out must be the same. The shards are written as img2dataset writes DataComp's, of photographs. Always
exits 0; the bar is told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import webdataset as wds
from measure import Bar, Took, pairmill, print_machine, ratios, settle, timed
from photo_pool import ROOT, lay_photographs, scratch

FASTER = Bar("time of DataComp's method against pairmill reshard", 5.0)
PER_SHARD = 2_500


def uid(number: int) -> str:
    """The uid of a pair, as 32 hex digits."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def write_shards(folder: Path, pairs: int) -> None:
    """Shards as img2dataset writes them, with webdataset's writer."""
    photographs = folder / "photographs"
    captions, _ = lay_photographs(photographs, pairs, ("coco",), 0)
    (folder / "shards").mkdir()
    for shard, start in enumerate(range(0, pairs, PER_SHARD)):
        numbers = range(start, min(start + PER_SHARD, pairs))
        with wds.TarWriter(str(folder / "shards" / f"{shard:08d}.tar")) as writer:
            for number in numbers:
                record = {"uid": uid(number), "caption": captions[number], "key": f"{number:012d}", "status": "success"}
                writer.write(
                    {
                        "__key__": f"{number:012d}",
                        "jpg": (photographs / f"{number // 1000:03d}" / f"{number:06d}.jpg").read_bytes(),
                        "txt": captions[number].encode(),
                        "json": json.dumps(record, indent=4).encode(),
                    }
                )
        stats = folder / "shards" / f"{shard:08d}_stats.json"
        stats.write_text(json.dumps({"successes": len(numbers)}))
    shutil.rmtree(photographs)


def write_subset(path: Path, pairs: int, share: float) -> int:
    """A DataComp subset of so large a share of the pairs; returns how many."""
    chosen = np.random.default_rng(0).permutation(pairs)[: round(pairs * share)]
    halves = sorted((int(uid(n)[:16], 16), int(uid(n)[16:], 16)) for n in chosen.tolist())
    np.save(path, np.array(halves, dtype="u8,u8"))
    return len(halves)


def contents(folder: Path) -> set[tuple[str, str]]:
    """uid and digest of the image of every sample."""
    found = set()
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            image = ""
            for member in archive:
                file = archive.extractfile(member)
                data = file.read() if file is not None else b""
                if member.name.endswith(".jpg"):
                    image = hashlib.sha256(data).hexdigest()
                elif member.name.endswith(".json"):
                    found.add((json.loads(data)["uid"], image))
    return found


def run(command: list[str], out: Path, log: Path) -> Took:
    """One run and the sync of what it wrote."""
    shutil.rmtree(out, ignore_errors=True)
    settle()
    return timed(["sh", "-c", '"$@" && sync', "sh", *command], log)


def main() -> None:
    """Write the shards, run both in turn, compare what they wrote, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15_000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 1.0], help="of the pairs that are kept")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "reshard")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    print_machine()
    with scratch(folder):
        write_shards(folder, arguments.pairs)
        for share in arguments.shares:
            compare(folder, arguments.pairs, share, arguments.repeats)


def compare(folder: Path, pairs: int, share: float, repeats: int) -> None:
    """Both methods in turn over one subset."""
    count = write_subset(folder / "subset.npy", pairs, share)
    ours, theirs, log = folder / "ours", folder / "theirs", folder / "log"
    size = sum(path.stat().st_size for path in (folder / "shards").glob("*.tar"))
    print(f"{count:,} of {pairs:,} pairs, {size / 1e9:.2f} GB of shards", flush=True)
    subset = str(folder / "subset.npy")
    peer = [sys.executable, str(Path(__file__).with_name("datacomp_resharder.py"))]
    mine, other = [], []
    subprocess.run(["cat", *map(str, (folder / "shards").glob("*.tar"))], stdout=subprocess.DEVNULL, check=True)
    for _ in range(repeats):
        other.append(run([*peer, str(folder / "shards"), subset, str(theirs)], theirs, log))
        command = [pairmill(), "reshard", str(folder / "shards"), str(ours), "--subset", subset]
        mine.append(run([*command, "--layout", "datacomp", "--samples-per-shard", "10000", "--quiet"], ours, log))
        print(f"  DataComp's method {other[-1]}, pairmill reshard {mine[-1]}", flush=True)
    if contents(ours) != contents(theirs):
        raise SystemExit("the two wrote other samples")
    print(FASTER.told(ratios(other, mine)), flush=True)


if __name__ == "__main__":
    main()
