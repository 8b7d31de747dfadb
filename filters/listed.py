"""Whether a value is in a list, for lists of millions: one binary search a row, nothing built for each table.

Polars' ``is_in`` makes a hash table of the list each time that it is asked. Here a list is sorted by a 64-bit hash once
a process, a row finds its place by bisection, and the value that stands there says whether it is the same: exact.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from pairmill.sharding.value_list import ListFile, read_list

#: Values written in the recipe, or a file of them.
Listed: TypeAlias = tuple[str, ...] | ListFile

# What Python's str.split() separates at: Unicode white space, which is what \s means to Polars, and four
# control characters that Unicode does not count to it.
WORD = r"[^\s\x1c-\x1f]+"

#: Values that are hashed at once.
_PIECE = 1_000_000
_SEEDS = (0x70616972, 0x6D696C6C)


@dataclass(frozen=True)
class Form:
    """How values of one kind are written, and compared.

    ``of``: the comparable form of a Series or an expression of Strings; ``pattern``: what every listed value must then
    match, and ``example`` one that does.
    """

    name: str
    of: Callable[[pl.Expr], pl.Expr]
    pattern: str | None = None
    example: str = ""
    digest: bool = False


def _as_written(text: pl.Expr) -> pl.Expr:
    return text


def _lower(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase()


def _host(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase().str.strip_chars(".")


TEXT = Form("text", _as_written)
TEXT_IN_ANY_CASE = Form("text in any case", _lower)
HOST = Form("host", _host, r"^[^/:@*?#\s.]+(\.[^/:@*?#\s.]+)*$", "example.com")
SHA256 = Form("sha256", _lower, "^[0-9a-f]{64}$", "64 hex digits", digest=True)
MD5 = Form("md5", _lower, "^[0-9a-f]{32}$", "32 hex digits", digest=True)
PHASH = Form("phash", _lower, "^[0-9a-f]{16}$", "16 hex digits", digest=True)
NUMBER = Form("whole number", _as_written, "^-?[0-9]{1,18}$", "12")


@dataclass(frozen=True, eq=False)
class Table:
    """A list made ready: ``keys`` sorted, ``checks`` what must stand at the place where a key is found."""

    form: Form
    keys: pl.Series
    checks: pl.Series
    seed: int

    def has(self, column: pl.Expr) -> pl.Expr:
        """Whether each value of a column is listed; null for null. Strings, or integers where these are listed."""
        if not len(self.keys):
            return pl.when(column.is_not_null()).then(pl.lit(False))  # nothing to search, whatever the column's type
        if self.form in (NUMBER, PHASH):
            key = check = column.cast(self.keys.dtype)
        else:
            text = self.form.of(column)
            key, check = text.hash(self.seed), text.hash(_SEEDS[1]) if self.form.digest else text
        place = pl.lit(self.keys).search_sorted(key).clip(upper_bound=len(self.keys) - 1)
        return pl.when(column.is_not_null()).then(pl.lit(self.checks).gather(place) == check)

    def count(self, values: pl.Expr) -> pl.Expr:
        """How many entries of each list of a column of lists are listed; null for null."""
        # On the values at hand: as one expression, the lists would be taken apart for each mention of them.
        return values.map_batches(self._count, return_dtype=pl.UInt32)

    def _count(self, values: pl.Series) -> pl.Series:
        lengths = values.list.len().fill_null(0)
        entries = values.filter(lengths > 0).explode().to_frame("entry")
        found = entries.select(self.has(pl.col("entry")).fill_null(False).cast(pl.UInt32)).to_series().cum_sum()
        so_far = pl.concat([pl.Series([0], dtype=pl.UInt32), found]).gather(lengths.cum_sum())
        return (so_far - so_far.shift(1, fill_value=0)).set(values.is_null(), None)


@functools.lru_cache(maxsize=32)
def table_of(values: Listed | tuple[int, ...], form: Form) -> Table:
    """The list made ready; once a process for each list. Raises ValueError naming the first value that is none."""
    if not form.digest or form is PHASH:
        return _ready(listed_values(values, form), form)
    written = _written(values)
    hashed = [  # piece by piece: of a digest nothing is kept but two hashes
        compared.to_frame("v").select(keys=pl.col("v").hash(_SEEDS[0]), checks=pl.col("v").hash(_SEEDS[1]))
        for at in range(0, max(len(written), 1), _PIECE)
        for compared in (_compared(written[at : at + _PIECE], values, form),)
    ]
    table = pl.concat(hashed).unique().sort("keys")
    if table["keys"].n_unique() < table.height:
        return _ready(listed_values(values, form), form)
    return Table(form, table["keys"], table["checks"], _SEEDS[0])


@functools.lru_cache(maxsize=4)
def host_tables(values: Listed) -> dict[int, Table]:
    """Lists of hosts by their number of dots: a host is blocked where the last labels of its name are listed."""
    hosts = listed_values(values, HOST)
    dots = hosts.str.count_matches(".", literal=True)
    return {int(count): _ready(hosts.filter(dots == count), HOST) for count in dots.unique().sort()}


def listed_values(values: Listed | tuple[int, ...], form: Form) -> pl.Series:
    """The values of a list in the form in which they are compared, each once. Raises ValueError as ``table_of``."""
    return _compared(_written(values), values, form).unique(maintain_order=True)


def _written(values: Listed | tuple[int, ...]) -> pl.Series:
    if isinstance(values, ListFile):
        return read_list(values)
    return pl.Series([str(value) for value in values], dtype=pl.String)


def _compared(written: pl.Series, values: Listed | tuple[int, ...], form: Form) -> pl.Series:
    compared = written.to_frame("v").select(form.of(pl.col("v"))).to_series()
    if form.pattern is not None:
        wrong = written.filter(~compared.str.contains(form.pattern))
        if len(wrong):
            where = f"the list {values.file}" if isinstance(values, ListFile) else "the list"
            raise ValueError(f"{where} has {wrong[0]!r}, which is no {form.name} (such as {form.example})")
    return compared


def _ready(values: pl.Series, form: Form) -> Table:
    if form in (NUMBER, PHASH):
        if form is NUMBER:
            numbers = values.cast(pl.Int64)
        else:
            numbers = values.str.decode("hex").bin.reinterpret(dtype=pl.UInt64, endianness="big")
        numbers = numbers.unique().sort()
        return Table(form, numbers, numbers, 0)
    seed = _SEEDS[0]
    keys = values.hash(seed)
    while keys.n_unique() < len(keys):  # two values of one key: the second would not be found
        seed += 1
        keys = values.hash(seed)
    order = keys.arg_sort()
    checks = values.hash(_SEEDS[1]) if form.digest else values
    return Table(form, keys.gather(order), checks.gather(order), seed)
