"""Groups of rows with equal keys, and the row of each that survives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def equal_groups(
    keys: npt.NDArray[np.uint64], rank: npt.NDArray[np.int64], known: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """For each row the index of the survivor of its group: the row of equal key with the smallest rank.

    ``keys`` has shape (n,), or (n, k) for keys of k words; ``rank`` has shape (n,) and no repeats, see
    ``survivor_rank``; rows where ``known`` is false have no key and survive alone. Returns int64 of shape (n,);
    a survivor names itself. Raises ValueError for shapes that do not fit or a repeated rank.
    """
    keys = np.asarray(keys, dtype=np.uint64)
    words = keys if keys.ndim == 2 else keys[:, np.newaxis]
    check_rank(rank, len(words))
    survivor = np.arange(len(words), dtype=np.int64)
    rows = survivor.copy() if known is None else np.flatnonzero(known)
    if not len(rows):
        return survivor
    # lexsort takes its last key first: by the words of the key, then by rank.
    ordered = rows[np.lexsort((rank[rows], *words[rows].T[::-1]))]
    starts = np.ones(len(ordered), dtype=np.bool_)
    starts[1:] = (words[ordered[1:]] != words[ordered[:-1]]).any(axis=1)
    survivor[ordered] = ordered[starts][np.cumsum(starts) - 1]
    return survivor


def check_rank(rank: npt.NDArray[np.int64], rows: int) -> None:
    """Refuse a rank that does not order the rows: with a repeat, the answer would depend on their order."""
    if rank.shape != (rows,):
        raise ValueError(f"rank has the shape {rank.shape}; it must hold one number for each of the {rows} rows")
    if len(np.unique(rank)) != rows:
        raise ValueError("rank repeats a number; rank the rows with survivor_rank")
