"""Rows that belong together by any of several links: what a split into training and validation must not part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def duplicate_groups(rows: int, links: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """For each row the smallest row of its group: those that links join, directly or through others.

    Each of ``links`` is an int64 array of shape (rows,) that names for every row one it belongs with, itself where
    there is none: the survivors by URL, by sha256 and ``NearResult.star``. Returns int64 of shape (rows,). Raises
    ValueError for a link of another length or that names no row.
    """
    own = np.arange(rows, dtype=np.int64)
    for link in links:
        if link.shape != (rows,) or (rows and not 0 <= link.min() <= link.max() < rows):
            raise ValueError(f"a link must name one of the {rows} rows for each of them")
    if not rows or not links:
        return own
    parts = [np.flatnonzero(link != own) for link in links]
    source = np.concatenate(parts)
    target = np.concatenate([link[part] for link, part in zip(links, parts, strict=True)])
    graph = coo_array((np.ones(len(source), dtype=np.int8), (source, target)), shape=(rows, rows))
    _, label = connected_components(graph, directed=False)
    # Rows ascend, so the first row of a label is its smallest.
    _, first, group = np.unique(label, return_index=True, return_inverse=True)
    return first[group].astype(np.int64)
