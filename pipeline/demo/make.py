"""``python -m pairmill.pipeline.demo.make``: a pool of the drawn world of any size, with its truth.

Three kinds: ``files`` (images and texts in folders), ``urls`` (a table of addresses, and the server that draws what is
asked for, until it is interrupted), ``table`` (the same table alone). Slices of a pool can be made in other
programs with ``pool_rows.Pool``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pairmill.pipeline.demo.pool import POOL_FILE, pool_port, write_demo_pool, write_file_pool
from pairmill.pipeline.demo.server import serve_folder

_PORT = 8321


def main(argv: Sequence[str] | None = None) -> int:
    """Make the pool; returns the exit code: 0 done, 2 used wrongly."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.kind == "urls":
            _serve(arguments)
        else:
            _write(arguments, f"http://127.0.0.1:{arguments.port}")
    except (ValueError, OSError) as error:
        print(f"demo pool: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pairmill.pipeline.demo.make", description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="pairs in the pool, 100 or more (default: 1000)")
    parser.add_argument("--as", dest="kind", choices=("files", "urls", "table"), default="urls")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluation", type=int, default=100, help="pictures in the evaluation set (default: 100)")
    parser.add_argument("--workers", type=int, default=1, help="processes that make rows (default: 1)")
    parser.add_argument(
        "--port",
        type=int,
        default=_PORT,
        help=f"of the server in the URLs, 0 for any free one to serve at (default: {_PORT})",
    )
    return parser


def _write(arguments: argparse.Namespace, base_url: str) -> None:
    started = time.monotonic()
    size = {"rows": arguments.rows, "seed": arguments.seed, "evaluation": arguments.evaluation}
    if arguments.kind == "files":
        place = write_file_pool(arguments.out, **size, workers=arguments.workers)
    else:
        place = write_demo_pool(arguments.out, base_url, **size, workers=arguments.workers)
    seconds = time.monotonic() - started
    print(f"{arguments.rows} pairs in {place}: {seconds:.1f} s, {arguments.rows / seconds:.0f} pairs/s")


def _serve(arguments: argparse.Namespace) -> None:
    """Write the table if it is not there, and serve its pictures."""
    # A program that was started in the background may have been told to ignore interrupts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with serve_folder(arguments.out, pool_port(arguments.out) or arguments.port) as url:
        if not (arguments.out / POOL_FILE).is_file():
            _write(arguments, url)
        print(f"serving {arguments.out} at {url} until interrupted", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
