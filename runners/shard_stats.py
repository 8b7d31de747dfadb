"""``shard-stats``: what ``sharding.stats_cli`` tells from files, ``--html``, which shows it, and ``--bench``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairmill.sharding import stats_cli
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.fault import printable
from pairmill.sharding.publish import publish_bytes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 when all is well, 1 for a damaged dataset, 2 for a wrong use."""
    parser = stats_cli.parser()
    bench = parser.add_argument_group("reading speed")
    bench.add_argument(
        "--bench", action="store_true", help="read with webdataset's loader: cold, cached, decoded or not"
    )
    bench.add_argument("--workers", type=int, default=2, help="loader processes (default: 2)")
    bench.add_argument("--seconds", type=float, default=5.0, help="for each way of reading (default: 5)")
    bench.add_argument("--edge", type=int, default=224, help="pixels that images are brought to (default: 224)")
    bench.add_argument("--gpu-samples-per-second", type=float, help="what one GPU takes")
    page = parser.add_argument_group("a page")
    page.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts and a contact sheet")
    page.add_argument("--samples", type=int, default=48, metavar="N", help="pairs on its contact sheet (default: 48)")
    arguments = parser.parse_args(argv)
    if arguments.html is not None:
        return _with_page(arguments)
    if not arguments.bench:
        return stats_cli.run(arguments)
    from pairmill.runners.bench_command import BenchRequest, bench_lines
    from pairmill.runners.bench_command import bench as measure

    try:
        target = stats_cli.target_of(arguments)
        wanted = BenchRequest(arguments.workers, arguments.seconds, arguments.edge, arguments.gpu_samples_per_second)
        told = measure(target, wanted)
    except PairmillError as error:
        print(f"shard-stats: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(told, indent=1) if arguments.json else "\n".join(bench_lines(told)))
    return 0


def _with_page(arguments: argparse.Namespace) -> int:
    """What the other options ask for, and the page of it."""

    def write(target: stats_cli.Target, report: stats_cli.Report, verdicts: Sequence[Mapping[str, Any]]) -> None:
        page = stats_page(target, report, verdicts, arguments.samples, arguments.verify)
        try:
            publish_bytes(arguments.html, page)
        except OSError as error:
            raise UsageError(f"--html {arguments.html} cannot be written: {error.strerror}") from error

    try:
        if arguments.bench or arguments.index:
            raise UsageError("--html goes with neither --bench nor --index; give them one after the other")
        if arguments.samples < 0:
            raise UsageError(f"--samples {arguments.samples}: give 0 or more")
        from pairmill.pipeline.page.chart import require_pages
        from pairmill.pipeline.page.stats_page import stats_page

        require_pages()
        if not arguments.html.absolute().parent.is_dir():
            raise UsageError(f"--html {arguments.html}: there is no such folder")
        return stats_cli.run(arguments, write)
    except PairmillError as error:
        print(f"shard-stats: {printable(str(error))}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
