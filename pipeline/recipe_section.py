"""One section of a recipe as its dataclass, and what is wrong with it in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pairmill.pipeline.recipe_file import check_keys

T = TypeVar("T")


def read_section(kind: type[T], value: object, path: str, errors: list[str]) -> T | None:
    """One section as its dataclass; pydantic reads the types, the dataclass checks the values.

    None where something is wrong: ``errors`` then has a line for each thing, which begins with ``path``.
    """
    if dataclasses.is_dataclass(kind):
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            errors.append(f"{path}: give a mapping of keys, not {value!r}")
            return None
        wrong = check_keys(kind, value, path)
        if wrong:
            errors += wrong
            return None
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        errors += _told(error, path)
        return None


def _told(error: ValidationError, path: str) -> list[str]:
    """One line for each key that pydantic refuses, in our words."""
    messages: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    for item in error.errors(include_url=False):
        # Between the keys stand the members of a union that was tried, such as tuple[str, ...]: no words of a recipe.
        places = [part for part in item["loc"] if isinstance(part, int) or "[" not in part]
        key = path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in places)
        message = item["msg"].removeprefix("Value error, ")
        message = message.replace("valid tuple", "list").replace("valid dictionary", "mapping of keys")
        if key.endswith("_bytes") and item["type"].startswith("int"):
            message = "give a number of bytes, or one with a unit such as 256 MiB or 1.5 GB"
        if item["type"] != "value_error" and not isinstance(item["input"], (dict, list)):
            given[key] = f", not {item['input']!r}"
        found = messages.setdefault(key, [])
        found.append(message.removeprefix("Input should be ") if found else message[0].lower() + message[1:])
    return [f"{key}: {' or '.join(found)}{given.get(key, '')}" for key, found in messages.items()]
