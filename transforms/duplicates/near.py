"""Near duplicates: every row that is alike to a better one, and the row that survives in its place.

Members match their survivor, not one another (a star, no chain): a picture that changes a little from row to row
is not collapsed into its first version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairmill.transforms.duplicates.bands import BandIndex
from pairmill.transforms.duplicates.equal import check_rank
from pairmill.transforms.duplicates.pictures import THUMBNAIL_BYTES, NearSettings, Pictures

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


def near_duplicates(pictures: Pictures, rank: _Rows, settings: NearSettings | None = None) -> NearResult:
    """Collapse near duplicates: in the order of ``rank``, each row not yet claimed claims all such rows alike to it.

    ``rank`` is int64 (n,) without repeats, the smallest survives (``survivor_rank``). Blank pictures match nothing.
    The answer does not depend on the order of the rows, and no pair within the bounds is missed. Beside its
    arguments it needs some 150 bytes a row. Time grows with the rows, except where very many unlike pictures of
    one brightness share a hash: these are compared with one another. Raises ValueError for a rank that does not
    order the rows.
    """
    settings = settings or NearSettings()
    check_rank(rank, len(pictures.phash))
    candidates = np.flatnonzero(~pictures.blank())
    order = candidates[np.argsort(rank[candidates])]
    star = np.arange(len(rank), dtype=np.int64)
    star[order] = order[_Claims(pictures, order, settings).settled()]
    return _with_oversized(star, settings.max_group)


class _Claims:
    """Rows in order of rank, and who claimed each. A number here is a place in ``order``: the smaller the better."""

    def __init__(self, pictures: Pictures, order: _Rows, settings: NearSettings) -> None:
        self._pictures = pictures
        self._order = order
        self._settings = settings
        self._phash, self._brightness = pictures.phash[order], pictures.brightness()[order]
        self._owner = np.arange(len(order), dtype=np.int64)

    def settled(self) -> _Rows:
        """For each place the place of its survivor."""
        whole = self._index(np.arange(len(self._order)))
        for start in range(0, len(self._order), _BATCH):
            batch = self._unclaimed(np.arange(start, min(start + _BATCH, len(self._order))))
            matches = [self._alike(batch[query], batch[row]) for query, row in self._close(self._index(batch), batch)]
            self._claim_within(matches)
            survivors = self._unclaimed(batch)
            for query, row in self._close(whole, survivors):
                better, worse = self._alike(survivors[query], row)
                np.minimum.at(self._owner, worse, better)
        return self._owner

    def _index(self, places: _Rows) -> BandIndex:
        slack = int(self._settings.max_thumbnail_difference * THUMBNAIL_BYTES)
        return BandIndex(self._phash[places], self._brightness[places], self._settings.max_distance, slack)

    def _close(self, index: BandIndex, places: _Rows) -> Iterator[tuple[_Rows, _Rows]]:
        return index.close_to(self._phash[places], self._brightness[places])

    def _unclaimed(self, places: _Rows) -> _Rows:
        return places[self._owner[places] == places]

    def _alike(self, better: _Rows, worse: _Rows) -> tuple[_Rows, _Rows]:
        """The pairs in which ``better`` may claim ``worse``: alike, and ``worse`` not claimed by a row as good."""
        # The owner of a row is never worse than the row, so that this also leaves each pair in one order only.
        open_pairs = self._owner[worse] > better
        better, worse = better[open_pairs], worse[open_pairs]
        alike = self._pictures.alike(self._order[better], self._order[worse], self._settings)
        return better[alike], worse[alike]

    def _claim_within(self, matches: list[tuple[_Rows, _Rows]]) -> None:
        """Settle the rows of one batch among themselves, best first: what is claimed claims nothing."""
        pairs = np.concatenate([np.empty((2, 0), dtype=np.int64), *map(np.stack, matches)], axis=1)
        if not pairs.size:
            return
        better, worse = pairs[:, np.argsort(pairs[0], kind="stable")]
        claimants, starts = np.unique(better, return_index=True)
        for claimant, claimed in zip(claimants, np.split(worse, starts[1:]), strict=True):
            if self._owner[claimant] == claimant:
                self._owner[claimed] = np.minimum(self._owner[claimed], claimant)


def _with_oversized(star: _Rows, max_group: int) -> NearResult:
    sizes = np.bincount(star, minlength=len(star))
    large = sizes[star] > max_group
    survivor = np.where(large, np.arange(len(star), dtype=np.int64), star)
    groups = []
    for head in np.flatnonzero(sizes > max_group):
        members = np.flatnonzero(star == head)
        groups.append(NearGroup(int(head), members[members != head]))
    return NearResult(survivor, star, tuple(groups))
