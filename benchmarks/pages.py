"""What a page costs: one command, two numbers.

- seconds that ``BUILD/report.html`` adds to a run of 1,000 rows: timed in a process that has loaded what a run has
- peak memory of ``pairmill report`` over a selection of a large pool against one of a small pool

Always exits 0; the bars are told.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

from measure import Bar, pairmill, print_machine
from photo_pool import ROOT, scratch
from pool_memory import write_pool, write_recipe

ADDED = Bar("a second against what the page adds to a run of 1,000 rows", 1.0)
MEMORY = Bar("memory of a page over the small pool against one over the large", 0.8)
PAGE = """
import sys, time
import PIL.Image, cv2, pairmill.runners.run_command, pairmill.transforms.wiring.build_dataset
from pathlib import Path
from pairmill.runners.report_command import page_of_run
clock, processor = time.perf_counter(), time.process_time()
page_of_run(Path(sys.argv[1]))
print(time.perf_counter() - clock, time.process_time() - processor)
"""


def added_s(build: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor that writing the page of a build takes, its imports with it."""
    (build / "report.html").unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-c", PAGE, str(build)], capture_output=True, text=True, check=True)
    if not (build / "report.html").is_file():
        raise SystemExit(done.stderr)
    clock, processor = map(float, done.stdout.split())
    return clock, processor


def peak_mb(folder: Path, rows: int) -> float:
    """The largest resident set in MB of a page over a selection of so many rows of a pool in DataComp's columns."""
    pool, out = folder / f"pool-{rows}", folder / f"build-{rows}"
    maker = get_context("spawn").Process(target=write_pool, args=(pool, rows))
    maker.start()
    maker.join()
    recipe = write_recipe(folder)
    run = [pairmill(), "run", str(recipe), "--pool", str(pool), "--out", str(out), "--steps", "select", "--quiet"]
    subprocess.run(run, check=True)
    command = [pairmill(), "report", str(out)]
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    print(f"  {rows:,} rows: {usage.ru_maxrss / 1000:.0f} MB, {usage.ru_utime + usage.ru_stime:.1f} s of processor")
    return usage.ru_maxrss / 1000


def main() -> None:
    """Make the builds, write their pages, print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=2, default=[1_000_000, 5_000_000], metavar=("SMALL", "LARGE"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "pages")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    print_machine()
    with scratch(folder):
        demo = subprocess.run([pairmill(), "demo", str(folder / "demo")], capture_output=True, text=True, check=True)
        kept = re.search(r"[\d,]+ of [\d,]+ pairs kept", demo.stdout)
        print(f"  {kept[0] if kept else demo.stdout}")
        runs = [added_s(folder / "demo") for _ in range(arguments.repeats)]
        for clock, processor in runs:
            print(f"  {clock:.2f} s ({processor:.2f} s of processor)", flush=True)
        print(ADDED.told([1 / clock for clock, _ in runs]), flush=True)
        small, large = (peak_mb(folder, rows) for rows in arguments.rows)
        print(MEMORY.told([small / large]))


if __name__ == "__main__":
    main()
