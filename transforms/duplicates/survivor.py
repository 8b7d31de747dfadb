"""Which of several duplicates survives: a stated order of rows that does not depend on how they arrive."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

#: ``largest``: the largest image, then the most fetched bytes, then as ``uid``.
#: ``uid``: the smallest uid key, which is as good as drawn by lot, then the row id.
#: ``first``: the first row of the pool.
SurvivorPolicy = Literal["largest", "uid", "first"]


def survivor_rank(
    policy: SurvivorPolicy,
    row_id: npt.NDArray[np.uint64],
    *,
    uid_keys: npt.NDArray[np.uint64] | None = None,
    width: npt.NDArray[np.integer] | None = None,
    height: npt.NDArray[np.integer] | None = None,
    fetched_bytes: npt.NDArray[np.integer] | None = None,
) -> npt.NDArray[np.int64]:
    """The place of each row in the order of survival, 0 for the row that survives all others; int64 of shape (n,).

    ``row_id`` has no repeats and settles every tie. ``uid_keys`` (n, 2) come from ``text_keys`` and are needed by
    ``largest`` and ``uid``; ``width``, ``height`` (pixels, before any resize) and ``fetched_bytes`` by ``largest``.
    Raises ValueError when one that is needed is missing or a row id is repeated.
    """
    # The last key of lexsort counts first.
    if policy == "first":
        keys: tuple[np.ndarray, ...] = (row_id,)
    elif policy == "uid":
        uids = _needed(policy, "uid_keys", uid_keys)
        keys = (row_id, uids[:, 1], uids[:, 0])
    elif policy == "largest":
        uids = _needed(policy, "uid_keys", uid_keys)
        area = _needed(policy, "width", width).astype(np.int64) * _needed(policy, "height", height).astype(np.int64)
        size = _needed(policy, "fetched_bytes", fetched_bytes).astype(np.int64)
        keys = (row_id, uids[:, 1], uids[:, 0], -size, -area)
    else:
        raise ValueError(f"survivor is {policy!r}; it must be 'largest', 'uid' or 'first'")
    if len(np.unique(row_id)) != len(row_id):
        raise ValueError("a row id is repeated; each row needs its own to order duplicates")
    rank = np.empty(len(row_id), dtype=np.int64)
    rank[np.lexsort(keys)] = np.arange(len(row_id))
    return rank


def _needed(policy: str, name: str, column: np.ndarray | None) -> np.ndarray:
    if column is None:
        raise ValueError(f"survivor {policy!r} needs {name}")
    return column
