"""Lanes: which worker call handles which blocks, and into how many partitions global work is cut.

Nothing that lands in a dataset depends on either: lanes only schedule, partitions only bound memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pairmill.sharding.column_files import attempt_path
from pairmill.sharding.mirror import fetched, settle

#: One partition of narrow rows (about 100 bytes each while they are sorted) stays well under 100 MB.
ROWS_PER_PARTITION = 500_000
#: A partition of a large pool grows with the root of it: a partition reads a batch of every file, so that files times
#: partitions must not grow with the square. 0.7 M rows of 100 M, 8 M rows of 12.8 G.
_SCALE = 5_000
#: Small blocks are handled together: opening files and planning expressions costs milliseconds, whatever the rows.
ROWS_PER_BATCH = 10_000
BLOCKS_PER_BATCH = 256
#: A pool is cut into so many batches at least, if it has the blocks: lanes begin at batches.
LEAST_BATCHES = 64


@dataclass(frozen=True, eq=False)
class LanePlan:
    """All blocks of a pool in pool order, gathered in batches, and the batches cut into lanes.

    ``blocks`` and ``rows``: int64 arrays of one length. ``batches``: index of each batch's first block; batches depend
    on the pool alone. ``starts``: for each lane the number of its first batch.
    """

    blocks: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    batches: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    partitions: int

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return len(self.starts)

    def batch(self, number: int) -> list[int]:
        """The blocks of one batch, in pool order."""
        stop = self.batches[number + 1] if number + 1 < len(self.batches) else len(self.blocks)
        return [int(block) for block in self.blocks[self.batches[number] : stop]]

    def lane(self, number: int) -> list[list[int]]:
        """The batches of one lane, each a list of blocks, in pool order."""
        stop = self.starts[number + 1] if number + 1 < self.lanes else len(self.batches)
        return [self.batch(batch) for batch in range(int(self.starts[number]), int(stop))]

    def lane_of(self, blocks: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The lane of each block number given; shape kept."""
        if not self.lanes:
            return np.zeros(len(blocks), dtype=np.int64)
        firsts = self.blocks[self.batches[self.starts]]
        return np.searchsorted(firsts, blocks.astype(np.int64), side="right") - 1

    def place_of(self, block: int) -> tuple[int, int]:
        """The lane of a block, and the place of its batch among the lane's batches."""
        index = int(np.searchsorted(self.blocks, block))
        return self.place_of_batch(int(np.searchsorted(self.batches, index, side="right")) - 1)

    def place_of_batch(self, batch: int) -> tuple[int, int]:
        """The lane of a batch, and its place there."""
        lane = int(np.searchsorted(self.starts, batch, side="right")) - 1
        return lane, batch - int(self.starts[lane])


def rows_per_partition(rows: int) -> int:
    """About how many rows of a pool a partition has."""
    return max(ROWS_PER_PARTITION, math.isqrt(rows * _SCALE))


def lay_lanes(blocks: list[tuple[int, int]], lanes: int, partition_rows: int | None = None) -> LanePlan:
    """Cut (block, rows) pairs into at most ``lanes`` lanes of about equal numbers of rows.

    No lane is empty. Partitions are as many as ``partition_rows`` asks for (default: by ``rows_per_partition``), and at
    least one a lane, so that every worker has one.
    """
    blocks = sorted(blocks)
    numbers = np.array([block for block, _ in blocks], dtype=np.int64)
    rows = np.array([count for _, count in blocks], dtype=np.int64)
    batches = _gather(rows)
    count = min(lanes, len(batches))
    # A block weighs a row more than it has, so that empty blocks spread as well.
    before = np.concatenate([[0], np.cumsum(rows + 1)])[:-1][batches]
    total = int((rows + 1).sum())
    wanted = np.searchsorted(before, [total * i // count for i in range(count)], side="left")
    # A large last batch begins before its lane is due: the lane begins with it all the same.
    starts = np.unique(np.minimum(wanted, len(batches) - 1)).astype(np.int64)
    all_rows = int(rows.sum())
    partitions = max(1, count, -(-all_rows // (partition_rows or rows_per_partition(all_rows))))
    return LanePlan(numbers, rows, batches, starts, partitions)


def _gather(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of the blocks that begin a batch: whole blocks, up to a number of rows unless one block has more."""
    limit = max(1, min(ROWS_PER_BATCH, int(rows.sum()) // LEAST_BATCHES))
    most_blocks = max(1, min(BLOCKS_PER_BATCH, len(rows) // LEAST_BATCHES))
    starts, held, first = [], 0, 0
    for index, count in enumerate(rows.tolist()):
        if index == 0 or held + count > limit or index - first >= most_blocks:
            starts.append(index)
            held, first = 0, index
        held += count
    return np.array(starts, dtype=np.int64)


def save_lanes(path: Path, plan: LanePlan) -> None:
    """Write a plan where every worker can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(path)
    with attempt.open("wb") as file:
        np.savez(
            file,
            blocks=plan.blocks,
            rows=plan.rows,
            batches=plan.batches,
            starts=plan.starts,
            partitions=plan.partitions,
        )
    settle(attempt, path)


@lru_cache(maxsize=4)
def load_lanes(path: Path) -> LanePlan:
    """Read a plan; one file is read once a process (its path holds the run's name, so it never changes)."""
    with np.load(fetched(path), allow_pickle=False) as file:
        return LanePlan(file["blocks"], file["rows"], file["batches"], file["starts"], int(file["partitions"]))
