"""Sizes in bytes as people write them: ``500MB``, ``1.5TB``, ``20GiB``."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGTP]?)(i?)(?:[bB])?")
_PLACES = " KMGTP"


def parse_bytes(text: str) -> int:
    """The number of bytes; K, M, … are powers of 1000, and of 1024 with an i. Raises ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{text!r} is no size; write it like 500MB, 20GB or 1.5TB")
    return round(float(match[1]) * (1024 if match[3] else 1000) ** _PLACES.index(match[2].upper() or " "))


def told_bytes(size: int) -> str:
    """A size for people, three figures at most: ``0 B``, ``12.3 MB``, ``512 GB``."""
    value, unit = float(size), "B"
    for unit in ("B", "KB", "MB", "GB", "TB", "PB"):
        if value < 999.5 or unit == "PB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
