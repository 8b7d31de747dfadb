"""Whether memory grows with the pool: one command, one ratio.

``pairmill run`` on a small and on a large pool in DataComp's columns, all but some 1,000 rows of which a rule on a
score of the pool's own rejects before the fetch (those are asked of a server that is not there). Told: the largest
resident set of any process of each run, and large over small. Always exits 0; the bar is told.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from measure import pairmill, print_machine

ROOT = Path(__file__).resolve().parents[1]
#: Rows that the rule lets through, whatever the size of the pool.
WANTED = 1_000
ROWS_PER_FILE = 100_000
#: Memory may be so many times that of the small pool; the pool is five times as large.
AT_MOST = 1.25


def write_pool(folder: Path, rows: int, seed: int = 0) -> None:
    """Files of DataComp's columns and about its sizes of text; ``WANTED`` rows have a score above 0.9."""
    if (folder / "done").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    words = np.array(
        ["a", "red", "wooden", "chair", "beside", "the", "window", "of", "an", "old", "house", "in", "snow"]
    )
    wanted = np.zeros(rows, dtype=bool)
    wanted[chance.choice(rows, min(WANTED, rows), replace=False)] = True
    for number, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        count = min(ROWS_PER_FILE, rows - start)
        texts = words[chance.integers(0, len(words), (count, 9))]
        ids = np.arange(start, start + count)
        pl.DataFrame(
            {
                "uid": [f"{i:032x}" for i in ids],
                "url": [f"http://127.0.0.1:1/a/path/of/the/usual/length/{i}/picture.jpg" for i in ids],
                "text": [f"{' '.join(row)} {i}" for row, i in zip(texts.tolist(), ids, strict=True)],
                "original_width": chance.integers(100, 2000, count),
                "original_height": chance.integers(100, 2000, count),
                "clip_b32_similarity_score": chance.random(count) * 0.4,
                "clip_l14_similarity_score": np.where(wanted[ids], 0.95, chance.random(count) * 0.4),
                "sha256": [f"{i:064x}" for i in ids],
            }
        ).write_parquet(folder / f"{number:08d}.parquet", row_group_size=50_000)
    (folder / "done").touch()


def write_recipe(folder: Path) -> Path:
    """DataComp's columns, one rule on a score, and no second try at a server that is not there."""
    recipe = {
        "name": "pool-memory",
        "pool": {"path": "given", "preset": "datacomp"},
        "language": "off",
        "fetch": {"allow_hosts": ["127.0.0.1"], "retries": 0},
        "rules": [{"column_range": {"column": "clip_l14_similarity_score", "at_least": 0.9}}],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def peak_of(folder: Path, recipe: Path, rows: int, workers: int) -> float:
    """The largest resident set in MB of a run over a pool of so many rows."""
    pool, out = folder / f"pool-{rows}", folder / f"build-{rows}"
    # In a process of its own: a new process counts the memory of the one that started it as its own first peak.
    maker = get_context("spawn").Process(target=write_pool, args=(pool, rows))
    maker.start()
    maker.join()
    shutil.rmtree(out, ignore_errors=True)
    command = [pairmill(), "run", str(recipe), "--pool", str(pool), "--out", str(out), "--workers", str(workers)]
    log = folder / "runs.log"
    child = os.posix_spawn(
        command[0],
        [*command, "--quiet", "--no-space-check"],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, fd, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) for fd in (1, 2)
        ],
    )
    _, status, usage = os.wait4(child, 0)  # of the process and of its children that it waited for
    if status:
        raise SystemExit(f"failed, see {log}: {' '.join(command)}")
    report = json.loads((out / "report.json").read_text())
    fetched = sum(report["fetch"].values())
    if (report["pool_rows"], fetched) != (rows, min(WANTED, rows)):
        raise SystemExit(f"the run is not what it should be: {report['pool_rows']} rows, {fetched} fetched")
    return usage.ru_maxrss / (1000 if sys.platform == "linux" else 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=2, default=[1_000_000, 5_000_000], metavar=("SMALL", "LARGE"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "pool_memory")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print_machine()
    recipe = write_recipe(arguments.folder)
    small, large = arguments.rows
    peaks = []
    for rows in (small, large):
        peaks.append(peak_of(arguments.folder, recipe, rows, arguments.workers))
        print(f"{rows:,} rows: {peaks[-1]:.0f} MB at most in one process", flush=True)
    ratio = peaks[1] / peaks[0]
    verdict = "met" if ratio <= AT_MOST else "missed"
    print(f"memory of {large:,} rows over that of {small:,}: {ratio:.3f}; bar {AT_MOST:.2f}: {verdict}")


if __name__ == "__main__":
    main()
