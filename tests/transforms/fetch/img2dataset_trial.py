"""Run by test_img2dataset_engine.py under a Python that has img2dataset: fetches URLs, prints the outcomes as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from pairmill.transforms.fetch.img2dataset_engine import Resized, fetch_blocks_by_img2dataset
from pairmill.transforms.fetch.outcome import BlockJob, FetchOutcome, Want
from pairmill.transforms.fetch.settings import FetchSettings


class Sink:
    """Keeps the outcomes."""

    def __init__(self, job: BlockJob) -> None:
        self.outcomes: dict[int, FetchOutcome] = {}

    def add(self, row: int, outcome: FetchOutcome) -> None:
        assert row not in self.outcomes
        self.outcomes[row] = outcome

    def close(self) -> list[FetchOutcome]:
        return [self.outcomes[row] for row in sorted(self.outcomes)]

    def abort(self) -> None:
        raise AssertionError("nothing here aborts")


def measured(resized: Resized) -> dict[str, Any]:
    return {
        "width": resized.width,
        "height": resized.height,
        "original_width": resized.original_width,
        "original_height": resized.original_height,
        "data": resized.data.hex(),
    }


def main() -> None:
    """Read {urls, settings, resize} from stdin, write one outcome per URL."""
    given = json.load(sys.stdin)
    given["settings"]["allow_hosts"] = tuple(given["settings"].get("allow_hosts", ()))
    job = BlockJob(0, 0, [Want(row, url) for row, url in enumerate(given["urls"])])
    [closed] = fetch_blocks_by_img2dataset(
        [job], FetchSettings(engine="img2dataset", **given["settings"]), given["resize"], measured, Sink
    )
    json.dump([[str(o.status), o.attempts, o.stored, o.detail] for o in closed.result], sys.stdout)


main()
