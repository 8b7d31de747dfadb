"""What a large job moves through Beam, and through files: one command over rows that are made on the fly.

The graph of a build on a Flink session cluster of this machine (job manager, two task managers, a worker pool each), or
with ``--runner direct`` on Beam's local one: reading, two exchanges of narrow rows by partitions, duplicates, the
ledger's counts, the plan of shards. No images, no captions: see ``large_job_steps.py``. Told are the bytes that Flink's
tasks sent each other, a row; the largest element and the largest gathered list; the size of the submitted graph; the
bytes in files; the memory of the Java processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import print_machine
from photo_pool import ROOT, scratch

STEPS = Path(__file__).parent
#: The most that may be in flight at once.
MOST_BYTES = 1_000_000


@contextmanager
def flink(folder: Path, home: Path) -> Iterator[Any]:
    """A session cluster whose workers know the steps of this job."""
    sys.path.insert(0, str(ROOT / "examples" / "flink"))
    from session_cluster import session_cluster

    with session_cluster(folder, home / "packages" / "pyflink") as cluster:
        yield cluster


def make_job(folder: Path, rows: int, lanes: int) -> tuple[Any, list[Any]]:
    """The job of a build over ``rows`` rows, and the segments of a pool that is not there."""
    from large_job_steps import BLOCK_ROWS, SEGMENT_BLOCKS, LargeJob

    from pairmill.pipeline.prepare import prepare
    from pairmill.pipeline.recipe import load_recipe

    (folder / "pool.csv").write_text("url,caption\nhttps://example.org/a.jpg,one row\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(f"name: large\npool: {{path: {folder}/pool.csv}}\n", encoding="utf-8")
    prepared = prepare(load_recipe(folder / "recipe.yaml"), folder / "build", folder / "work", lanes)
    fields = {field.name: getattr(prepared.job, field.name) for field in dataclasses.fields(prepared.job)}
    first = prepared.segments[0]
    step = BLOCK_ROWS * SEGMENT_BLOCKS
    segments = [
        dataclasses.replace(first, first_block=start // BLOCK_ROWS, rows=min(rows, start + step))
        for start in range(0, rows, step)
    ]
    return LargeJob(**fields), segments


def main() -> None:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--runner", choices=("flink", "direct"), default="flink")
    parser.add_argument("--flink", type=Path, default=ROOT / ".flink", help="made by: make .flink/.ready")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "benchmarks" / "large_job")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    os.environ["PYTHONPATH"] = os.pathsep.join([str(STEPS), *filter(None, [os.environ.get("PYTHONPATH")])])
    print_machine()
    with scratch(folder):
        if arguments.runner == "flink":
            with flink(folder / "cluster", arguments.flink) as cluster:
                measure(folder, arguments, cluster)
        else:
            measure(folder, arguments, None)


def measure(folder: Path, arguments: argparse.Namespace, cluster: Any) -> None:
    """Submit, wait, and tell."""
    import apache_beam as beam

    from pairmill.runners.runner_choice import RunnerChoice
    from pairmill.runners.submit import run_on
    from pairmill.transforms.greeting import Greeting, told_versions
    from pairmill.transforms.wiring.build_dataset import BuildDataset
    from pairmill.transforms.wiring.first_calls import SegmentNumbers

    choice = RunnerChoice("direct", workers=1)
    if cluster is not None:
        choice = RunnerChoice(
            "flink",
            workers=2,
            worker_timeout_s=300,
            flink_master=cluster.master,
            job_server_jar=str(arguments.flink / "job-server.jar"),
            environment_type="EXTERNAL",
            environment_config=cluster.worker_pool,
        )
    job, segments = make_job(folder, arguments.rows, choice.lanes)
    if cluster is not None:
        job = dataclasses.replace(
            job, greeting=Greeting(job.run, job.build, job.pool_store.work, job.pool.path, told_versions())
        )
    pipeline = beam.Pipeline()
    _ = pipeline | "Segments" >> SegmentNumbers(len(segments)) | "Build" >> BuildDataset(job)
    graph = pipeline.to_runner_api().SerializeToString()
    Path(job.build).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    run_on(choice, segments, BuildDataset(job), job)
    seconds = time.monotonic() - began
    rows = arguments.rows
    plan = job.lane_plan()
    shape = f"{len(plan.blocks):,} blocks, {plan.lanes} lanes, {plan.partitions} partitions"
    print(f"{rows:,} rows in {shape}: {seconds:.0f} s")
    told = [json.loads(path.read_text()) for path in (Path(job.build) / "weights").glob("*.json")]
    largest, gathered = max(each["largest"] for each in told), max(each["largest_gathered"] for each in told)
    handed = sum(each["bytes"] for each in told)
    print(f"elements handed on at barriers: {sum(each['elements'] for each in told):,}, {handed:,} bytes")
    print(f"the largest element: {largest:,} bytes; the largest list gathered at a barrier: {gathered:,} bytes")
    print(f"the graph: {len(graph):,} bytes; the pool has {len(segments):,} segments")
    verdict = "met" if max(largest, gathered, len(graph)) < MOST_BYTES else "missed"
    print(f"nothing above {MOST_BYTES:,} bytes in flight: {verdict}")
    if cluster is not None:
        tell_flink(cluster, rows)
    for kind in sorted(path.name for path in job.parts.iterdir() if path.is_dir()):
        size = sum(path.stat().st_size for path in (job.parts / kind).rglob("*") if path.is_file())
        print(f"in files, {kind}: {size / rows:.2f} bytes a row")
    log = sum(path.stat().st_size for path in (folder / "work" / "log").rglob("*") if path.is_file())
    print(f"commit logs: {log / len(plan.blocks):.0f} bytes a block")


def tell_flink(cluster: Any, rows: int) -> None:
    """What Flink says of its tasks, and the memory of its processes."""
    sent = records = 0
    for job in cluster.asked("/jobs")["jobs"]:
        for vertex in cluster.asked(f"/jobs/{job['id']}")["vertices"]:
            sent += vertex["metrics"]["write-bytes"]
            records += vertex["metrics"]["write-records"]
    print(f"Flink's tasks sent {sent:,} bytes in {records:,} records: {sent / rows:.5f} bytes a row")
    for name, process in cluster.processes.items():
        if name.startswith("pool"):
            continue
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        print(f"{name}: at most {peak / 1024:.0f} MiB resident")


if __name__ == "__main__":
    main()
