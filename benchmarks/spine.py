"""What Beam and the bookkeeping cost, and what a second worker brings: one command, two ratios.

``pairmill run`` with one worker against the same functions in a plain loop (plain_loop.py), and two workers against
one. Every run is a process of its own, from its start to its last byte; the three are repeated in turn. Real
photographs over real HTTP: nginx on this machine, which shares the cores with what is measured. Always exits 0; the
bars are told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import yaml
from measure import Bar, Took, pairmill, print_machine, rates, ratios, settle, timed
from photo_pool import ROOT, PhotoPool, served_photographs

#: At most 15 % more time than the plain loop.
BEAM_COST = Bar("one worker against the plain loop (plain seconds / run seconds)", 1 / 1.15)
SECOND_WORKER = Bar("two workers against one (pairs per second)", 1.6)


def write_recipe(path: Path, pool: PhotoPool) -> None:
    """The usual steps; near duplicates are measured and not rejected, since the pool repeats its photographs."""
    recipe = {
        "name": "spine",
        "pool": {"path": str(pool.table), "block_rows": 1000},
        "fetch": {"allow_private_addresses": True, "decode_threads": 1},
        "rules": ["basic_filter"],
        "duplicates": {"near": "measure"},
    }
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))


class Runs:
    """The three ways to make the same dataset."""

    def __init__(self, folder: Path, recipe: Path) -> None:
        self._folder, self._recipe = folder, recipe
        self._samples: set[int] = set()

    def plain(self) -> Took:
        """Time of the plain loop."""
        out = self._fresh("plain")
        took = timed(
            [sys.executable, str(Path(__file__).with_name("plain_loop.py")), str(self._recipe), str(out)], self._log
        )
        self._check(json.loads((out / "samples.json").read_text()))
        return took

    def workers(self, count: int) -> Took:
        """Time of ``pairmill run`` with so many workers."""
        out = self._fresh(f"workers-{count}")
        command = [pairmill(), "run", str(self._recipe), "--out", str(out), "--workers", str(count), "--no-space-check"]
        took = timed(command, self._log)
        self._check(json.loads((out / "report.json").read_text())["kept"])
        return took

    @property
    def samples(self) -> int:
        """Samples of every run, which must be the same."""
        return next(iter(self._samples))

    @property
    def _log(self) -> Path:
        return self._folder / "runs.log"

    def _fresh(self, name: str) -> Path:
        shutil.rmtree(self._folder / name, ignore_errors=True)
        settle()
        return self._folder / name

    def _check(self, samples: int) -> None:
        self._samples.add(samples)
        if len(self._samples) != 1:
            raise SystemExit(f"the runs wrote different numbers of samples: {sorted(self._samples)}")


def compare(folder: Path, pool: PhotoPool, repeats: int) -> None:
    """Run the three in turn and print the ratios."""
    recipe = folder / "recipe.yaml"
    write_recipe(recipe, pool)
    runs = Runs(folder, recipe)
    plain: list[Took] = []
    one: list[Took] = []
    two: list[Took] = []
    for number in range(repeats):
        plain.append(runs.plain())
        one.append(runs.workers(1))
        two.append(runs.workers(2))
        print(f"pass {number + 1}: plain {plain[-1]}, one worker {one[-1]}, two {two[-1]}", flush=True)
    print(f"{runs.samples:,} samples of {pool.rows:,} pairs in every run, {pool.mean_bytes / 1e3:.0f} KB an image")
    for name, took in (("plain loop", plain), ("one worker", one), ("two workers", two)):
        print(rates(name, took, pool.rows))
    shortest = min(took.wall for took in one)
    if shortest < 60:
        print(f"one worker took only {shortest:.0f} s; give more --pairs for runs of 60 s")
    print(BEAM_COST.told(ratios(plain, one)))
    print(SECOND_WORKER.told(ratios(one, two)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=16_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "spine")
    arguments = parser.parse_args()
    print_machine()
    with served_photographs(arguments.folder, arguments.pairs) as pool:
        compare(arguments.folder, pool, arguments.repeats)


if __name__ == "__main__":
    main()
