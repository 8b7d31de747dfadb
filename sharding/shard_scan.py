"""What was found in one tar, however it was looked at."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pairmill.sharding.fault import Fault, FaultCounter

IMAGE_MEMBERS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"})
TEXT_LIMIT_BYTES = 16 * 2**20
#: JSON's types; a number with a point is another than one without to a reader that fixes a column's type.
_TYPES = {str: "string", int: "whole number", float: "number", bool: "boolean", list: "list", dict: "object"}
#: json.loads looks for the encoding, and with regular expressions for what stands before and behind.
_parse = json.JSONDecoder().raw_decode


def _ints() -> array[int]:
    return array("q")


@dataclass
class ShardScan:
    """What was found in one tar, or in one MDS shard.

    The arrays hold one number for each sample that has it; only ``widths`` and ``heights`` go together.
    """

    file: str
    bytes: int = 0
    keys: list[str] = field(default_factory=list)
    members: Counter[str] = field(default_factory=Counter)  # by extension
    image_bytes: array[int] = field(default_factory=_ints)
    widths: array[int] = field(default_factory=_ints)  # pixels
    heights: array[int] = field(default_factory=_ints)
    caption_lengths: array[int] = field(default_factory=_ints)  # characters
    languages: Counter[str] = field(default_factory=Counter)  # "" where a record names none
    record: dict[str, str] = field(default_factory=dict)  # key of the json members -> its type in the first of them
    faults: list[Fault] = field(default_factory=list)  # what makes the shard damaged or unsafe
    warnings: list[Fault] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The shard's name: the file's without its folder and ``.tar`` or ``.mds``."""
        return self.file.rsplit("/", 1)[-1].removesuffix(".tar").removesuffix(".mds")

    @property
    def samples(self) -> int:
        """How many samples were found, up to the damage if there is any."""
        return len(self.keys)


class Records:
    """Reads the json members of one tar, and compares their keys and types with those of the first one."""

    def __init__(self, scan: ShardScan, warnings: FaultCounter) -> None:
        self._scan, self._warnings = scan, warnings
        self._told: tuple[Any, ...] | None = None

    def read(self, data: bytes, key: str) -> dict[str, Any]:
        """The record of the sample ``key``; an empty one, and a warning, where it is none."""
        record = json_value(data)
        if not isinstance(record, dict):
            self._warnings.add("record", f"record {f'{key}.json'!r} is not a JSON object")
            record = {}
        # Readers take the keys of records and their types from the first ones.
        told = (*record, *map(type, record.values()))
        if told != self._told:
            self._told = told
            self._compare({name: _TYPES.get(type(value), "null") for name, value in record.items()}, key)
        return record

    def _compare(self, types: dict[str, str], key: str) -> None:
        if not self._scan.record:
            self._scan.record.update(types)
        elif types != self._scan.record:
            for what in record_drift(self._scan.record, types):
                self._warnings.add("schema", f"record {key!r} {what}, unlike those before")


def json_value(data: bytes) -> Any:
    """What a JSON text says; None where it is none."""
    try:
        text = data.decode()
        value, end = _parse(text)
        if end == len(text):
            return value
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def record_drift(first: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """How the keys and types of one record differ from those of another: at most one line."""
    for key, kind in other.items():
        if key not in first:
            return [f"has a key {key!r}"]
        if kind != first[key]:
            return [f"has a {kind} for {key!r} (not a {first[key]})"]
    return [f"has no key {key!r}" for key in first if key not in other][:1]


def first_text(record: Mapping[str, Any], *names: str) -> str | None:
    """The first of these keys that holds a text."""
    return next((value for name in names if isinstance(value := record.get(name), str)), None)
