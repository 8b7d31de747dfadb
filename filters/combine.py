"""Rules joined to one: any of them, all of them, at least so many, or the opposite of them."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import ClassVar

import polars as pl

from pairmill.filters.rule import Rejection, Rule

_REASON = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Combination(Rule):
    """Rules that are judged together. ``reason`` is what a row is rejected for; None means the combination's own word.

    Among all reasons of a row, those of the rules inside follow the combined one; where the combination keeps the row
    they are not told. A value that is missing inside has there the outcome that the rule inside states.
    """

    source: ClassVar[str] = "no defaults: the recipe names the rules"

    of: tuple[Rule, ...]
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.reason is not None and (not _REASON.fullmatch(self.reason) or self.reason == "kept"):
            told = "it must be a word of lower-case letters, digits and _, and not 'kept'"
            raise ValueError(f"{self.name}: reason is {self.reason!r}; {told}")

    def columns(self) -> tuple[str, ...]:
        """All columns of the rules inside, each once."""
        return tuple(dict.fromkeys(column for rule in self.of for column in rule.columns()))

    def judges(self) -> pl.Expr:
        """Whether every rule inside has the values that it needs."""
        return pl.all_horizontal([pl.lit(True)] + [rule.judges() for rule in self.of])

    @abstractmethod
    def least(self) -> int:
        """How many of the rules must keep a row."""

    @abstractmethod
    def own_reason(self) -> str:
        """The reason where the recipe gives none."""

    def rejections(self) -> tuple[Rejection, ...]:
        """The combined reason, then those of the rules inside as details."""
        rejected = reduce(add, (rule.rejects().cast(pl.UInt32) for rule in self.of), pl.lit(0, dtype=pl.UInt32))
        combined = rejected > len(self.of) - self.least()
        inside = [check for rule in self.of for check in rule.checks()]
        details = tuple(Rejection(check.reason, combined & check.when, True) for check in inside)
        return (Rejection(self.reason or self.own_reason(), combined), *details)


@dataclass(frozen=True, kw_only=True)
class AnyOf(Combination):
    """Keeps a row that at least one of the rules keeps."""

    name: ClassVar[str] = "any_of"
    reasons: ClassVar[tuple[str, ...]] = ("failed_any_of",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.of:
            raise ValueError("any_of: no rule is given, so that no row could pass")

    def least(self) -> int:
        """One."""
        return 1

    def own_reason(self) -> str:
        """``failed_any_of``."""
        return "failed_any_of"


@dataclass(frozen=True, kw_only=True)
class AllOf(Combination):
    """Keeps a row that all of the rules keep; without a ``reason`` the first that does not gives its own."""

    name: ClassVar[str] = "all_of"
    reasons: ClassVar[tuple[str, ...]] = ()

    def least(self) -> int:
        """All of them."""
        return len(self.of)

    def own_reason(self) -> str:
        """It has none: ``rejections`` gives those inside."""
        raise AssertionError("all_of has no reason of its own")

    def rejections(self) -> tuple[Rejection, ...]:
        """The combined reason if it has a name, else those of the rules inside."""
        if self.reason is not None:
            return super().rejections()
        return tuple(check for rule in self.of for check in rule.checks())


@dataclass(frozen=True, kw_only=True)
class AtLeast(Combination):
    """Keeps a row that at least ``k`` of the rules keep."""

    name: ClassVar[str] = "at_least"
    reasons: ClassVar[tuple[str, ...]] = ("failed_at_least_<k>_of_<n>",)

    k: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.k, bool) or not 1 <= self.k <= len(self.of):
            raise ValueError(f"at_least: k is {self.k}; it must be 1 to {len(self.of)}, the number of rules")

    def least(self) -> int:
        """``k``."""
        return self.k

    def own_reason(self) -> str:
        """``failed_at_least_2_of_3``."""
        return f"failed_at_least_{self.k}_of_{len(self.of)}"


@dataclass(frozen=True, kw_only=True)
class Not(Combination):
    """Keeps the rows that the rules, taken together as by ``all_of``, reject, and rejects those that they keep.

    Where a rule inside lacks a value it needs there is nothing to turn round: the row has the outcome that it has
    without ``not``.
    """

    name: ClassVar[str] = "not"
    reasons: ClassVar[tuple[str, ...]] = ("failed_not",)

    def least(self) -> int:
        """All of them, before it is turned round."""
        return len(self.of)

    def own_reason(self) -> str:
        """``failed_not``."""
        return "failed_not"

    def rejections(self) -> tuple[Rejection, ...]:
        """What cannot be judged, for the reasons inside; then what the rules keep."""
        judged = self.judges()
        inside = [check for rule in self.of for check in rule.checks()]
        kept = ~pl.any_horizontal([pl.lit(False)] + [rule.rejects() for rule in self.of])
        undecided = tuple(Rejection(check.reason, ~judged & check.when, check.detail) for check in inside)
        return (*undecided, Rejection(self.reason or self.own_reason(), judged & kept))


#: The words that join rules in a recipe.
COMBINATIONS: dict[str, type[Combination]] = {kind.name: kind for kind in (AnyOf, AllOf, AtLeast, Not)}
