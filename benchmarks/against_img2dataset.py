"""The whole run, from fetch to indexed shards, against the download alone of img2dataset: one command, two ratios.

Same URLs, same nginx on this machine, same sizes and qualities; no model, no rules; duplicates are measured and none is
rejected. Both are first tried on a part of the pool with several numbers of processes; the best of each then run in
turn over the whole pool, from the start of the command to its end. The samples in the tars of both are counted. Always
exits 0; the bars are told.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import polars as pl
import yaml
from img2dataset_peer import PEER_ENVIRONMENT, VERSION, PeerSetup, peer_command, peer_python, peer_successes
from measure import Bar, Took, pairmill, print_machine, rates, ratios, settle, timed
from photo_pool import ROOT, PhotoPool, served_photographs

from pairmill.sharding.tar import walk_tar

SetupT = TypeVar("SetupT")
#: A shard is what img2dataset hands to a process: as many for each of 1, 2 or 3.
SHARDS = 12
PEER_SETUPS = [PeerSetup(processes, threads) for processes in (1, 2, 3) for threads in (16, 64, 256)]


@dataclass(frozen=True)
class OurSetup:
    """How many workers, and decoding threads in each."""

    workers: int
    threads: int

    def __str__(self) -> str:
        return f"{self.workers} workers of {self.threads} decoding threads"


OUR_SETUPS = [OurSetup(1, 1), OurSetup(1, 2), OurSetup(2, 1), OurSetup(2, 2)]
#: What was best over whole pools of 20,000 on two cores; a short trial favours what starts fast.
PEER_BEST, OUR_BEST = PeerSetup(3, 256), OurSetup(2, 2)


@dataclass(frozen=True)
class Case:
    """Photographs of one kind, and what is asked for: our image settings, and the same in img2dataset's words."""

    name: str
    source: str
    least_side: int
    size: int
    peer: dict[str, object]
    bar: Bar

    def image(self) -> dict[str, object]:
        """Our settings; written out although they are the defaults."""
        return {"size": self.size, "resize_mode": "keep_ratio_largest", "only_if_bigger": True, "quality": 95}

    def peer_options(self) -> dict[str, object]:
        """The same for img2dataset."""
        resize = {"image_size": self.size, "resize_mode": "keep_ratio_largest", "resize_only_if_bigger": True}
        return {**resize, "encode_quality": 95, **self.peer}


CASES = (
    Case("640", "coco", 513, 512, {}, Bar("640 px resized to 512 (img2dataset seconds / pairmill seconds)", 0.9)),
    # The longest side of these has up to 888 pixels: nothing is resized.
    Case(
        "400",
        "clothing",
        0,
        1024,
        {"skip_reencode": True},
        Bar("400 px as they are (img2dataset seconds / pairmill seconds)", 1.3),
    ),
)


class Contest:
    """One case: how to run either side over a pool, and how many samples must come out."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._case = case
        self._folder = folder
        self._python = peer_python()

    def peer(self, pool: PhotoPool, setup: PeerSetup) -> Took:
        """Time of img2dataset."""
        out = self._fresh("img2dataset")
        options = self._case.peer_options()
        command = peer_command(self._python, pool, out, setup, options, _per_shard(pool))
        took = timed(command, self._folder / "runs.log", PEER_ENVIRONMENT)
        _require(peer_successes(out) == pool.rows == _samples(out), f"img2dataset lost some of {pool.rows} images")
        return took

    def ours(self, pool: PhotoPool, setup: OurSetup) -> Took:
        """Time of the whole run."""
        out = self._fresh("pairmill")
        recipe = self._folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(self._recipe(pool, setup), sort_keys=False))
        command = [pairmill(), "run", str(recipe), "--out", str(out), "--workers", str(setup.workers)]
        command.append("--no-space-check")
        took = timed(command, self._folder / "runs.log")
        _require(_samples(out / "dataset") == pool.rows, f"pairmill lost some of {pool.rows} images")
        return took

    def _recipe(self, pool: PhotoPool, setup: OurSetup) -> dict[str, object]:
        return {
            "name": f"against-img2dataset-{self._case.name}",
            "pool": {"path": str(pool.table), "block_rows": 1000},
            "language": "off",
            "fetch": {"allow_private_addresses": True, "decode_threads": setup.threads},
            "image": self._case.image(),
            "duplicates": {"url": "measure", "sha256": "measure", "near": "measure"},
            "shards": {"samples_per_shard": _per_shard(pool)},
        }

    def _fresh(self, name: str) -> Path:
        shutil.rmtree(self._folder / name, ignore_errors=True)
        settle()
        return self._folder / name


def part_of(pool: PhotoPool, rows: int) -> PhotoPool:
    """The first rows of a pool, as a pool."""
    table = pool.table.with_name("part.parquet")
    pl.read_parquet(pool.table).head(rows).write_parquet(table)
    return replace(pool, table=table, rows=min(rows, pool.rows))


def best(what: str, setups: list[SetupT], run: Callable[[SetupT], Took]) -> SetupT:
    """The fastest of several setups, each run once."""
    times = {setup: run(setup) for setup in setups}
    for setup, took in times.items():
        print(f"  {what}, {setup}: {took}", flush=True)
    return min(times, key=lambda setup: times[setup].wall)


def compare(case: Case, folder: Path, pool: PhotoPool, part: PhotoPool | None, repeats: int) -> None:
    """Find the best of each side (or take what was best before), then run them in turn and print the ratio."""
    contest = Contest(case, folder)
    print(f"case {case.name}: {pool.rows:,} URLs, {pool.mean_bytes / 1e3:.0f} KB each")
    their_best, our_best = PEER_BEST, OUR_BEST
    if part is not None:
        print(f"tried on {part.rows:,} of them")
        their_best = best("img2dataset", PEER_SETUPS, lambda setup: contest.peer(part, setup))
        our_best = best("pairmill", OUR_SETUPS, lambda setup: contest.ours(part, setup))
    peer: list[Took] = []
    ours: list[Took] = []
    for number in range(repeats):
        peer.append(contest.peer(pool, their_best))
        ours.append(contest.ours(pool, our_best))
        print(f"  pass {number + 1}: img2dataset {peer[-1]}, pairmill {ours[-1]}", flush=True)
    print(rates(f"img2dataset {VERSION}, {their_best}", peer, pool.rows))
    print(rates(f"pairmill, {our_best}", ours, pool.rows))
    print(case.bar.told(ratios(peer, ours)), flush=True)


def _per_shard(pool: PhotoPool) -> int:
    return -(-pool.rows // SHARDS)


def _samples(folder: Path) -> int:
    """Images in the tars of a folder."""
    members = (member for tar in folder.glob("*.tar") for member in walk_tar(tar))
    return sum(member.name.endswith(".jpg") for member in members)


def _require(fine: bool, what: str) -> None:
    if not fine:
        raise SystemExit(what)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument(
        "--trial", type=int, default=10_000, help="pairs of the runs that find the best setups; 0: none"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", choices=[case.name for case in CASES], action="append", help="both, if not given")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "against-img2dataset")
    arguments = parser.parse_args()
    print_machine()
    for case in CASES:
        if case.name in (arguments.case or [case.name]):
            with served_photographs(arguments.folder, arguments.pairs, (case.source,), case.least_side) as pool:
                part = part_of(pool, arguments.trial) if arguments.trial else None
                compare(case, arguments.folder, pool, part, arguments.repeats)


if __name__ == "__main__":
    main()
