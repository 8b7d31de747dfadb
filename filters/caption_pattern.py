"""Captions that match a regular expression, or fail to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.rule import Rejection, ValueRule


@dataclass(frozen=True, kw_only=True)
class CaptionPattern(ValueRule):
    """Rejects captions in which a pattern of ``reject`` is found, or one of ``require`` is not.

    Patterns are Rust's regular expressions (https://docs.rs/regex, no look-around), found anywhere unless anchored.
    """

    name: ClassVar[str] = "caption_pattern"
    source: ClassVar[str] = "no defaults: the recipe names the patterns"
    reasons: ClassVar[tuple[str, ...]] = ("caption_matches_pattern", "caption_lacks_pattern")

    column: str = "caption"
    reject: tuple[str, ...] = ()
    require: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.reject or self.require):
            raise ValueError(f"{self.name}: give reject or require, a list of regular expressions")
        for name in ("reject", "require"):
            patterns = getattr(self, name)
            if isinstance(patterns, str) or not all(isinstance(pattern, str) and pattern for pattern in patterns):
                raise ValueError(f"{self.name}: {name} is {patterns!r}; it must be a list of regular expressions")
            for pattern in patterns:
                check_pattern(self.name, pattern)

    def columns(self) -> tuple[str, ...]:
        """The caption."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """A pattern that is found; one that is not."""
        caption, found = pl.col(self.column), []
        if self.reject:
            hits = [caption.str.contains(pattern) for pattern in self.reject]
            found.append(Rejection("caption_matches_pattern", pl.any_horizontal(hits)))
        if self.require:
            lacks = [~caption.str.contains(pattern) for pattern in self.require]
            found.append(Rejection("caption_lacks_pattern", pl.any_horizontal(lacks)))
        return tuple(found)


def check_pattern(rule: str, pattern: str) -> None:
    """Refuse what is no regular expression of Polars; raises ValueError naming the rule."""
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.PolarsError as error:
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = next((line for line in told if line.startswith("error:")), told[0])
        raise ValueError(f"{rule}: {pattern!r} is no regular expression: {why.removeprefix('error: ')}") from error
