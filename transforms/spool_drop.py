"""Stored images that a work folder no longer holds: dropped by block parts, whose columns and failures stay.

A dropped part says so in the commit log before its tar goes. From then on its images count as never fetched: a build
that wants them fetches them again, as a further part of the block, and measures them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pairmill.sharding.byte_size import parse_bytes
from pairmill.sharding.commit_log import Commit
from pairmill.sharding.mirror import listed, listed_sizes
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.spool import DROPPED, DROPPED_BYTES, is_dropped, remove_orphans, tar_place

_TARS = "*/*.p*.*.tar"
#: A block and a part of it.
Place = tuple[int, int]


@dataclass(frozen=True)
class SpoolPolicy:
    """What becomes of stored images once a dataset is committed.

    ``keep``: they stay, so that later builds over the work folder need not fetch. ``drop``: all go. ``cap``: as many go
    as leave at most ``cap_bytes``, first of blocks from which the build kept nothing, then the oldest.
    """

    kind: Literal["keep", "drop", "cap"] = "keep"
    cap_bytes: int = 0

    @classmethod
    def parse(cls, text: str) -> SpoolPolicy:
        """``keep``, ``drop`` or ``cap:SIZE``; raises ValueError for anything else."""
        if text == "keep":
            return cls("keep")
        if text == "drop":
            return cls("drop")
        if text.startswith("cap:"):
            return cls("cap", parse_bytes(text.removeprefix("cap:")))
        raise ValueError(f"{text!r} is not known; give keep, drop or cap:SIZE, such as cap:200GB")


@dataclass(frozen=True)
class Dropped:
    """What went: parts of blocks, and the bytes of their tars."""

    parts: int = 0
    bytes: int = 0


def apply_policy(store: StepStore, policy: SpoolPolicy, kept_rows: Callable[[], Mapping[int, int]]) -> Dropped:
    """Drop what the policy does not leave. Driver only.

    ``kept_rows`` gives how many rows of each block are kept by the build that was committed.
    """
    if policy.kind == "keep":
        return Dropped()
    tars = spool_tars(store)
    if policy.kind == "drop":
        return drop_parts(store, tars)
    return drop_parts(store, parts_above(tars, policy.cap_bytes, kept_rows()))


def spool_tars(store: StepStore) -> dict[Place, list[Path]]:
    """The tars of each part of each block."""
    found: dict[Place, list[Path]] = {}
    for tar in listed(store.spool_folder, _TARS):
        found.setdefault(tar_place(tar), []).append(tar)
    return found


def parts_above(tars: Mapping[Place, Collection[Path]], cap_bytes: int, kept_rows: Mapping[int, int]) -> set[Place]:
    """The parts to drop so that at most ``cap_bytes`` are left."""
    sizes = {place: _size(paths) for place, paths in tars.items()}
    age = {place: max(path.stat().st_mtime_ns for path in paths) for place, paths in tars.items()}
    left, chosen = sum(sizes.values()), set[Place]()
    for place in sorted(tars, key=lambda place: (kept_rows.get(place[0], 0) > 0, age[place], place)):
        if left <= cap_bytes:
            break
        chosen.add(place)
        left -= sizes[place]
    return chosen


def drop_parts(store: StepStore, places: Collection[Place]) -> Dropped:
    """Mark parts as dropped, then remove their tars; a kill in between leaves tars that the next run removes."""
    if not places:
        return Dropped()
    tars, sizes = spool_tars(store), listed_sizes(store.spool_folder, _TARS)
    size = sum(sizes.get(tar, 0) for place in places for tar in tars.get(place, ()))
    commits = store.log.fold()
    chosen = set(places)
    marked = [_marked(commit) if (commit.block, commit.part) in chosen else commit for commit in commits]
    store.log.replace(marked)
    remove_orphans(store, marked)
    return Dropped(len(chosen), size)


def missing_parts(store: StepStore, commits: Collection[Commit]) -> list[Place]:
    """The committed parts with images whose tars are gone, though nobody dropped them."""
    there = spool_tars(store)
    places = ((commit.block, commit.part) for commit in commits if commit.counts.get("ok") and not is_dropped(commit))
    return [place for place in places if place not in there]


def dropped_images(commits: Collection[Commit]) -> tuple[int, int]:
    """How many images were dropped, and their stored bytes."""
    told = [commit.counts for commit in commits]
    return sum(counts.get(DROPPED, 0) for counts in told), sum(counts.get(DROPPED_BYTES, 0) for counts in told)


def _marked(commit: Commit) -> Commit:
    if is_dropped(commit):
        return commit
    counts = dict(commit.counts)
    gone = {DROPPED: counts.pop("ok", 0), DROPPED_BYTES: counts.pop("stored_bytes", 0)}
    return replace(commit, counts=counts | {"stored_bytes": 0} | gone)


def _size(paths: Collection[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
