"""A column whose value is one of those listed: a format, a licence, a source, a flag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import polars as pl

from pairmill.filters.rule import Rejection, ValueRule

Values: TypeAlias = tuple[str | int | bool, ...]


@dataclass(frozen=True, kw_only=True)
class ColumnValues(ValueRule):
    """Keeps rows whose value is one of ``keep``, if given, and none of ``drop``.

    Values are compared as they are: texts by case, numbers with an integer column, true and false with a flag.
    """

    name: ClassVar[str] = "column_values"
    source: ClassVar[str] = "no defaults: the recipe names the column and its values"
    reasons: ClassVar[tuple[str, ...]] = ("<column>_not_kept", "<column>_dropped")

    column: str
    keep: Values | None = None
    drop: Values = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is None and not self.drop:
            raise ValueError(f"{self.name}: the column {self.column!r} needs keep, drop or both")
        for name, values in (("keep", self.keep), ("drop", self.drop)):
            if values is None or (name == "drop" and not values):
                continue
            kinds = {type(value) for value in values} if not isinstance(values, str) else set()
            if len(kinds) != 1 or not kinds <= {str, int, bool}:
                raise ValueError(f"{self.name}: {name} is {values!r}; it must list texts, whole numbers or true/false")

    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """Not among those to keep; among those to drop."""
        value, found = pl.col(self.column), []
        if self.keep is not None:
            found.append(Rejection(f"{self.column}_not_kept", ~value.is_in(list(self.keep))))
        if self.drop:
            found.append(Rejection(f"{self.column}_dropped", value.is_in(list(self.drop))))
        return tuple(found)
