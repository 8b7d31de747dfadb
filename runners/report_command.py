"""``pairmill report``, and the page at the end of ``pairmill run``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_report(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command; it imports what it needs when it runs."""
    report = commands.add_parser("report", help="write a page of a finished build: funnel, charts, contact sheets")
    report.add_argument("build", type=Path, metavar="BUILD")
    report.add_argument("--out", type=Path, metavar="FILE", help="the page (default: BUILD/report.html)")
    report.add_argument(
        "--pictures",
        choices=("safe", "all", "none"),
        default="safe",
        help="safe: without those that a rule on safety or a list rejected; all: those blurred (default: safe)",
    )
    report.add_argument("--samples", type=int, default=10, metavar="N", help="rows of each reason (default: 10)")
    report.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> int:
    from pairmill.pipeline.page.build_page import write_build_page
    from pairmill.sharding.errors import UsageError

    if arguments.samples < 0:
        raise UsageError(f"--samples {arguments.samples}: give 0 or more")
    print(write_build_page(arguments.build, arguments.out, arguments.pictures, arguments.samples))
    return 0


def page_of_run(build: Path) -> None:
    """Write ``BUILD/report.html`` where it is not there yet.

    The dataset is finished and whole by now, so whatever keeps the page away is told and fails nothing.
    """
    from pairmill.pipeline.page.build_page import PAGE_NAME, write_build_page

    if (build / PAGE_NAME).is_file():
        return
    try:
        write_build_page(build)
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        print(f"pairmill: {PAGE_NAME} was not written: {what}; the dataset is whole", file=sys.stderr)


def page_again(build: Path) -> None:
    """Write the page of a build anew, if it has one: what was taken down since stands on it no more."""
    from pairmill.pipeline.page.build_page import PAGE_NAME

    if (build / PAGE_NAME).is_file():
        (build / PAGE_NAME).unlink()
        page_of_run(build)


def tell_page(build: Path) -> None:
    """Say where the page of a build is, if it has one."""
    from pairmill.pipeline.page.build_page import PAGE_NAME

    if (build / PAGE_NAME).is_file():
        print(f"a page of this build: {build / PAGE_NAME}")
