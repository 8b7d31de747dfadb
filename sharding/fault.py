"""What is wrong with a file of a dataset, said in one line that is safe to print."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One finding: the file it is about, relative to the dataset, and what is wrong with it."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{printable(self.file)}: {printable(self.what)}"


class FaultCounter:
    """Gathers findings on one file, one line for each kind however many members it strikes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._kinds: dict[str, tuple[str, int]] = {}

    def add(self, kind: str, what: str) -> None:
        """Count a finding; the first of its ``kind`` is the one that is told."""
        first, count = self._kinds.get(kind, (what, 0))
        self._kinds[kind] = (first, count + 1)

    def faults(self) -> list[Fault]:
        """One fault a kind, in the order of their first findings."""
        return [
            Fault(self.file, first if count == 1 else f"{first} (and {count - 1:,} more like it)")
            for first, count in self._kinds.values()
        ]


def printable(text: str) -> str:
    """The text with control characters, line breaks and undecodable bytes escaped: names come from anyone's tars."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
