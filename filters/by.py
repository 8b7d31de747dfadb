"""Other rules, or other thresholds, for other values of a column: each language or source has its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import ClassVar

import polars as pl

from pairmill.filters.rule import Rejection, Rule, check_column_name


@dataclass(frozen=True, kw_only=True)
class By(Rule):
    """The rules for each value of ``column``; ``otherwise`` those for any other value, and for none (null).

    ``values`` is compared as text, so that 3 in a recipe is the 3 of an integer column and true that of a Boolean one.
    """

    name: ClassVar[str] = "by"
    source: ClassVar[str] = "no defaults: the recipe names the column and the rules"
    reasons: ClassVar[tuple[str, ...]] = ()

    column: str
    values: tuple[tuple[str, tuple[Rule, ...]], ...]
    otherwise: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        check_column_name(self.name, self.column)
        named = [value for value, _ in self.values]
        if not named or len(set(named)) < len(named):
            raise ValueError(f"by: values names {', '.join(named) or 'nothing'}; name each value of the column once")

    def columns(self) -> tuple[str, ...]:
        """The column, and those of the rules of every value."""
        inside = (rule for _, rules in self._cases() for rule in rules)
        return tuple(dict.fromkeys([self.column, *(column for rule in inside for column in rule.columns())]))

    def judges(self) -> pl.Expr:
        """Whether a row has what the rules for its own value need."""
        cases = self._cases()
        has_all = [pl.all_horizontal([pl.lit(True)] + [rule.judges() for rule in rules]) for _, rules in cases]
        return pl.any_horizontal([mine & has for mine, has in zip(_is_case(self.column, cases), has_all, strict=True)])

    def rejections(self) -> tuple[Rejection, ...]:
        """The reasons of the rules for each value, in an order that is that of every value's rules."""
        cases = self._cases()
        checks = [
            [Rejection(check.reason, mine & check.when, check.detail) for rule in rules for check in rule.checks()]
            for mine, (_, rules) in zip(_is_case(self.column, cases), cases, strict=True)
        ]
        order = _common_order(checks)
        if order is None:  # rules in other orders for other values: no reason can stand for several of them
            return tuple(check for of_case in checks for check in of_case)
        joined: dict[tuple[str, bool], list[pl.Expr]] = {key: [] for key in order}
        for of_case in checks:
            for check in of_case:
                joined[check.reason, check.detail].append(check.when.fill_null(False))
        return tuple(Rejection(reason, pl.any_horizontal(when), detail) for (reason, detail), when in joined.items())

    def _cases(self) -> list[tuple[tuple[str, ...], tuple[Rule, ...]]]:
        """The values that have rules in common, and those rules; first those for any other value."""
        found: dict[tuple[Rule, ...], list[str]] = {self.otherwise: []}
        for value, rules in self.values:
            found.setdefault(rules, []).append(value)
        return [(tuple(values), rules) for rules, values in found.items()]


def _is_case(column: str, cases: Sequence[tuple[tuple[str, ...], tuple[Rule, ...]]]) -> list[pl.Expr]:
    """Whether a row belongs to each case; to the first where its value belongs to no other."""
    value = pl.col(column).cast(pl.String)
    named = [value for values, _ in cases[1:] for value in values]
    if not named:
        return [pl.lit(True)]
    others = [value == values[0] if len(values) == 1 else value.is_in(list(values)) for values, _ in cases[1:]]
    return [(~value.is_in(named)).fill_null(True), *(other.fill_null(False) for other in others)]


def _common_order(cases: Sequence[Sequence[Rejection]]) -> list[tuple[str, bool]] | None:
    """The reasons of all cases, each once, in an order that is that of every case; None where there is none."""
    sorter: TopologicalSorter[tuple[str, bool]] = TopologicalSorter()
    for checks in cases:
        keys = [(check.reason, check.detail) for check in checks]
        if len(set(keys)) < len(keys):
            return None
        for place, key in enumerate(keys):
            sorter.add(key, *keys[max(place - 1, 0) : place])
    try:
        return list(sorter.static_order())
    except CycleError:
        return None
