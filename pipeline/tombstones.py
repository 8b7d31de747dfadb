"""Tombstones: what was taken out of a dataset stays out of every later build over the same work folder.

``WORK/removed/`` holds a list for each of uid, url and sha256. Each is a rule before those of the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pairmill.filters.blocklist import Blocklist
from pairmill.filters.rule import Rejection, Rule
from pairmill.sharding.mirror import fresh, is_there, place_of
from pairmill.sharding.publish import publish_bytes
from pairmill.sharding.value_list import ListFile, list_file, read_list

FOLDER = "removed"
KINDS: tuple[Literal["uid", "url", "sha256"], ...] = ("uid", "url", "sha256")


@dataclass(frozen=True, kw_only=True)
class RemovedPairs(Blocklist):
    """Rejects the pairs that were removed from a dataset of this work folder, and those of the same image."""

    name: ClassVar[str] = "removed"
    source: ClassVar[str] = "pairmill remove"
    reasons: ClassVar[tuple[str, ...]] = ("removed",)

    def rejections(self) -> tuple[Rejection, ...]:
        """On the list."""
        return (Rejection("removed", self.listed()),)


def add_tombstones(work: Path, known_by: Mapping[str, Sequence[str]]) -> int:
    """Note what removed pairs are known by; returns how many values are new. Call it under the folder's lock."""
    new = 0
    for kind in KINDS:
        path = work / FOLDER / f"{kind}.txt"
        there = set(read_list(list_file(path))) if fresh(path).is_file() else set()
        # A line of the list is a value: a URL with a line break in it is known by its uid alone.
        wanted = {value for value in known_by.get(kind, ()) if value.isprintable() and value == value.strip()}
        if wanted - there:
            path.parent.mkdir(parents=True, exist_ok=True)
            publish_bytes(path, "".join(f"{value}\n" for value in sorted(there | wanted)).encode())
            new += len(wanted - there)
    return new


def tombstone_rules(work: Path) -> tuple[Rule, ...]:
    """The rules that keep removed pairs out; none where nothing was removed."""
    paths = {kind: work / FOLDER / f"{kind}.txt" for kind in KINDS}
    return tuple(
        RemovedPairs(kind=kind, values=list_file(place_of(path))) for kind, path in paths.items() if is_there(path)
    )


def tombstone_digests(rules: Sequence[Rule]) -> list[str]:
    """The digests of the lists behind these rules: part of what a build is."""
    return [
        rule.values.sha256 for rule in rules if isinstance(rule, RemovedPairs) and isinstance(rule.values, ListFile)
    ]
