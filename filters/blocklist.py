"""Pairs that are on a list, or not on it: URLs, hosts, uids, digests and perceptual hashes of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from pairmill.filters.listed import MD5, PHASH, SHA256, TEXT, Form, Listed, table_of
from pairmill.filters.rule import Rejection, ValueRule
from pairmill.filters.url import host_listed

_FORMS: dict[str, Form] = {"url": TEXT, "uid": TEXT, "sha256": SHA256, "md5": MD5, "phash": PHASH}
_COLUMNS = {"host": "url"}


@dataclass(frozen=True, kw_only=True)
class Blocklist(ValueRule):
    """Rejects the pairs whose ``kind`` is among ``values``; a pair that has none (a local image's URL) passes.

    ``url`` and ``uid`` are compared as written, ``host`` as by the rule ``url`` (with all hosts below it), ``sha256``
    and ``md5`` as hex in any case, ``phash`` (16 hex digits, as imagehash writes them) for equality with the column of
    that name. Several lists are several rules: each judges as soon as its column is known.
    """

    name: ClassVar[str] = "blocklist"
    source: ClassVar[str] = "no defaults: the recipe names the list"
    reasons: ClassVar[tuple[str, ...]] = ("<kind>_blocked",)

    missing: Literal["reject", "keep"] = "keep"
    kind: Literal["url", "host", "uid", "sha256", "md5", "phash"]
    values: Listed
    column: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in {*_FORMS, *_COLUMNS}:
            raise ValueError(f"{self.name}: kind is {self.kind!r}; it must be one of {', '.join([*_FORMS, *_COLUMNS])}")
        if isinstance(self.values, str):
            raise ValueError(f"{self.name}: values is {self.values!r}; give a list, or {{file: PATH}}")
        super().__post_init__()

    def columns(self) -> tuple[str, ...]:
        """The column of the kind, unless another is named."""
        return (self.column or _COLUMNS.get(self.kind, self.kind),)

    def rejections(self) -> tuple[Rejection, ...]:
        """On the list."""
        return (Rejection(f"{self.kind}_blocked", self.listed()),)

    def listed(self) -> pl.Expr:
        """Whether a pair is on the list."""
        column = pl.col(self.columns()[0])
        return (
            host_listed(column, self.values)
            if self.kind == "host"
            else table_of(self.values, _FORMS[self.kind]).has(column)
        )


@dataclass(frozen=True, kw_only=True)
class Allowlist(Blocklist):
    """Rejects the pairs whose ``kind`` is not among ``values``; a pair that has none is rejected as missing.

    With the uids of a DataComp subset (``values: {file: SUBSET.npy}``) it keeps that subset.
    """

    name: ClassVar[str] = "allowlist"
    reasons: ClassVar[tuple[str, ...]] = ("<kind>_not_listed",)

    missing: Literal["reject", "keep"] = "reject"

    def rejections(self) -> tuple[Rejection, ...]:
        """Not on the list."""
        return (Rejection(f"{self.kind}_not_listed", ~self.listed()),)
