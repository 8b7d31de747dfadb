"""Near duplicates: every row that is alike to a better one, and the row that survives in its place.

Members match their survivor, not one another (a star, no chain): a picture that changes a little from row to row
is not collapsed into its first version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairmill.transforms.duplicates.bands import BandIndex
from pairmill.transforms.duplicates.equal import check_rank
from pairmill.transforms.duplicates.likeness import THUMBNAIL_BYTES, NearSettings, Pictures

_BATCH = 4096  # rows settled together; the matches among them are held at once

_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NearGroup:
    """A survivor that more rows are alike to than ``max_group`` allows; none of them is collapsed."""

    survivor: int
    members: _Rows  # without the survivor, ascending


@dataclass(frozen=True)
class NearResult:
    """``survivor`` (n,): the row that survives for each row, itself where it stays.

    ``star`` (n,) is the same with oversized groups collapsed too: rows that no split may part.
    ``oversized``: these groups, by their survivors.
    """

    survivor: _Rows
    star: _Rows
    oversized: tuple[NearGroup, ...]


def near_duplicates(
    phash: npt.NDArray[np.uint64],
    thumbnails: npt.NDArray[np.uint8],
    width: npt.NDArray[np.integer],
    height: npt.NDArray[np.integer],
    rank: _Rows,
    settings: NearSettings | None = None,
) -> NearResult:
    """Collapse near duplicates: in the order of ``rank``, each row not yet claimed claims all such rows alike to it.

    ``phash`` uint64 (n,); ``thumbnails`` uint8 (n, 192), the 8 x 8 RGB means; ``width``, ``height`` (n,) in pixels;
    ``rank`` int64 (n,) without repeats, the smallest survives (``survivor_rank``). Blank pictures match nothing.
    The answer does not depend on the order of the rows, and no pair within the bounds is missed. Beside its
    arguments it needs some 150 bytes a row. Raises ValueError for arrays that do not fit together.
    """
    settings = settings or NearSettings()
    pictures = Pictures(phash, thumbnails, width, height)
    check_rank(rank, len(phash))
    candidates = np.flatnonzero(~pictures.blank())
    order = candidates[np.argsort(rank[candidates])]
    owner = _claim(pictures, order, settings)
    star = np.arange(len(phash), dtype=np.int64)
    star[order] = order[owner]
    return _with_oversized(star, settings.max_group)


def _claim(pictures: Pictures, order: _Rows, settings: NearSettings) -> _Rows:
    """For each place in ``order`` the place of its survivor. Places stand for rows from here on, best first."""
    phash, brightness = pictures.phash[order], pictures.brightness()[order]
    slack = int(settings.max_thumbnail_difference * THUMBNAIL_BYTES)
    index = BandIndex(phash, brightness, settings.max_distance, slack)
    owner = np.arange(len(order), dtype=np.int64)
    for start in range(0, len(order), _BATCH):
        batch = np.arange(start, min(start + _BATCH, len(order)))
        batch = batch[owner[batch] == batch]
        among = BandIndex(phash[batch], brightness[batch], settings.max_distance, slack)
        matches = [
            _alike_places(pictures, order, batch[query], batch[row], settings, owner)
            for query, row in among.close_to(phash[batch], brightness[batch])
        ]
        _claim_within(matches, owner)
        survivors = batch[owner[batch] == batch]
        for query, row in index.close_to(phash[survivors], brightness[survivors]):
            better, worse = _alike_places(pictures, order, survivors[query], row, settings, owner)
            np.minimum.at(owner, worse, better)
    return owner


def _alike_places(
    pictures: Pictures, order: _Rows, better: _Rows, worse: _Rows, settings: NearSettings, owner: _Rows
) -> tuple[_Rows, _Rows]:
    """The pairs in which ``better`` may claim ``worse``: alike, and ``worse`` not claimed by a row as good."""
    open_pairs = owner[worse] > better  # a row's owner is never worse than itself, so this also orders the pair
    better, worse = better[open_pairs], worse[open_pairs]
    alike = pictures.alike(order[better], order[worse], settings)
    return better[alike], worse[alike]


def _claim_within(matches: list[tuple[_Rows, _Rows]], owner: _Rows) -> None:
    """Settle the rows of one batch among themselves, best first: what is claimed claims nothing."""
    pairs = np.concatenate([np.empty((2, 0), dtype=np.int64), *map(np.stack, matches)], axis=1)
    if not pairs.size:
        return
    better, worse = pairs
    by_better = np.argsort(better, kind="stable")
    better, worse = better[by_better], worse[by_better]
    claimants, starts = np.unique(better, return_index=True)
    for claimant, claimed in zip(claimants, np.split(worse, starts[1:]), strict=True):
        if owner[claimant] == claimant:
            owner[claimed] = np.minimum(owner[claimed], claimant)


def _with_oversized(star: _Rows, max_group: int) -> NearResult:
    sizes = np.bincount(star, minlength=len(star))
    large = sizes[star] > max_group
    survivor = np.where(large, np.arange(len(star), dtype=np.int64), star)
    groups = []
    for head in np.flatnonzero(sizes > max_group):
        members = np.flatnonzero(star == head)
        groups.append(NearGroup(int(head), members[members != head]))
    return NearResult(survivor, star, tuple(groups))
