"""csv and tsv as rows of fields, so that one broken row costs one row."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pairmill.transforms.pool.opening import read_lines
from pairmill.transforms.pool.rows import text_series
from pairmill.transforms.pool.spec import PoolError

#: A quoted field that runs on for more lines than this was never meant to be quoted.
MAX_RECORD_LINES = 1_000

#: Web pools have captions of over a million letters; the csv module stops at 131,072 unless told otherwise.
_FIELD_LIMIT = 64 << 20


@dataclass(frozen=True)
class Dialect:
    """How the fields of a csv or tsv file are parted, and whether ``"`` quotes them."""

    delimiter: str
    quoting: bool


class _Runaway(Exception):
    """A quoted field goes on and on."""


class DelimitedRows:
    """The rows of one file after its header: ``(fields, None)``, or ``(None, reason)`` for a broken row.

    After a broken row reading goes on at the next line, also when the row had swallowed that line by a stray quote.
    Empty lines are no rows. Reasons: ``not_utf8``, ``bad_quoting``, ``wrong_field_count``.
    """

    def __init__(self, lines: Iterable[bytes], width: int, dialect: Dialect) -> None:
        self._lines = iter(lines)
        self._width = width
        self._dialect = dialect
        self._again: deque[bytes] = deque()
        self._record: list[bytes] = []
        self._ended = False

    def __iter__(self) -> Iterator[tuple[list[str] | None, str | None]]:
        reader = self._reader()
        while True:
            self._record.clear()
            error: str | None
            try:
                fields = next(reader)
            except StopIteration:
                return
            except (csv.Error, _Runaway):
                fields, error = [], "bad_quoting"
            else:
                # The reader asks for one more line than there is only inside a quoted field.
                error = "bad_quoting" if self._ended else self._error(fields)
            if error is None:
                if fields:
                    yield fields, None
                continue
            yield None, error
            if len(self._record) > 1 or self._ended:
                self._again.extendleft(reversed(self._record[1:]))
                self._ended = False
            reader = self._reader()

    def _reader(self) -> Iterator[list[str]]:
        delimiter = self._dialect.delimiter
        if not self._dialect.quoting:
            return (line.rstrip("\r\n").split(delimiter) if line.strip() else [] for line in self._feed())
        csv.field_size_limit(_FIELD_LIMIT)
        return csv.reader(self._feed(), delimiter=delimiter)

    def _feed(self) -> Iterator[str]:
        while True:
            line = self._again.popleft() if self._again else next(self._lines, None)
            if line is None:
                self._ended = True
                return
            if len(self._record) >= MAX_RECORD_LINES:
                self._again.appendleft(line)
                raise _Runaway
            self._record.append(line)
            yield _text(line)

    def _error(self, fields: list[str]) -> str | None:
        if fields and len(fields) != self._width:
            return "wrong_field_count"
        if len(self._record) > 1 and not self._is_strict():
            return "bad_quoting"
        try:
            for line in self._record:
                line.decode("utf-8")
        except UnicodeDecodeError:
            return "not_utf8"
        return None

    def _is_strict(self) -> bool:
        """Whether a row of several lines is quoted to the letter: a stray quote mostly closes at another stray one."""
        lines = [_text(line) for line in self._record]
        try:
            return len(list(csv.reader(lines, delimiter=self._dialect.delimiter, strict=True))) == 1
        except csv.Error:
            return False


def _text(line: bytes) -> str:
    """The line as text; the csv module of Python 3.10 refuses NUL, so it is replaced here, as blocks do anyway."""
    text = line.decode("utf-8", "surrogateescape")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def header_of(path: Path, dialect: Dialect, names: tuple[str, ...] | None) -> tuple[tuple[str, ...] | None, int]:
    """The column names of a file, and how many lines at its head are no rows. None for a file without any line.

    With ``names`` given the file needs no header line, and one that repeats the names is still taken for one.
    Raises PoolError for a header that is not UTF-8, or that repeats a name.
    """
    first = next(read_lines(path), None)
    if first is None:
        return None, 0
    try:
        text = first.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        if names is not None:
            return names, 0
        raise PoolError(f"{path}: the header line is not UTF-8; convert the file") from error
    quoted = next(csv.reader([text], delimiter=dialect.delimiter), []) if dialect.quoting else None
    fields = tuple(text.split(dialect.delimiter) if quoted is None else quoted)
    if names is not None:
        return names, int(fields == names)
    twice = [f for f in fields if fields.count(f) > 1]
    if twice:
        raise PoolError(f"{path}: the header names column {twice[0]!r} twice; give each a name with pool header")
    return fields, 1


def delimited_frames(
    path: Path, header: tuple[str, ...], skip: int, dialect: Dialect, rows: int
) -> Iterator[tuple[pl.DataFrame, list[str | None]]]:
    """The file as frames of at most ``rows`` rows, and what is wrong with each row.

    Columns are text, an empty field is null.
    """
    lines = read_lines(path)
    for _ in range(skip):
        next(lines, None)
    empty: list[str] = [""] * len(header)
    fields: list[list[str]] = []
    errors: list[str | None] = []
    for found, error in DelimitedRows(lines, len(header), dialect):
        fields.append(empty if found is None else found)
        errors.append(error)
        if len(fields) == rows:
            yield _frame(header, fields), errors
            fields, errors = [], []
    if fields:
        yield _frame(header, fields), errors


def _frame(header: tuple[str, ...], fields: list[list[str]]) -> pl.DataFrame:
    columns = [text_series(n, v) for n, v in zip(header, zip(*fields, strict=True), strict=True)]
    return pl.DataFrame(columns).with_columns(pl.when(pl.all() != "").then(pl.all()))
