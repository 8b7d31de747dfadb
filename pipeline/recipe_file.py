"""Reading a recipe's YAML: safe, without YAML 1.1's surprises, and with errors that name the key."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pairmill.sharding.errors import UsageError

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?i?B?)\s*", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
SHIPPED = Path(__file__).parent / "recipes"


class _Loader(yaml.SafeLoader):
    """SafeLoader whose only booleans are true and false: ``keep: [no]`` is Norwegian, ``resize_mode: no`` is a word."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped one. Raises UsageError listing the shipped ones."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    names = ", ".join(shipped_recipes())
    raise UsageError(f"there is no recipe file {name!r} and no shipped recipe of that name; shipped are: {names}")


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with pairmill."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a recipe file holds; raises UsageError with the line where it is no YAML."""
    try:
        text = path.read_text(encoding="utf-8")
        # _Loader is a SafeLoader: it makes no objects.
        value = yaml.load(text, Loader=_Loader)
    except OSError as error:
        raise UsageError(f"recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"recipe {path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise UsageError(f"recipe {path}{where}: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"recipe {path} must be a mapping of keys such as name, pool, rules")
    return value


def set_key(recipe: dict[str, Any], assignment: str) -> None:
    """Apply ``a.b.c=VALUE`` (VALUE read as YAML) to a recipe; raises UsageError for what is no assignment."""
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {assignment!r} is not KEY=VALUE, such as --set shards.count=8")
    target = recipe
    *parents, last = key.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UsageError(f"--set {assignment!r}: {parent} is not a mapping")
    target[last] = yaml.load(text, Loader=_Loader)


def check_keys(kind: type, value: object, path: str) -> list[str]:
    """One line for each key of ``value`` (a mapping, at any depth) that the dataclass ``kind`` does not have."""
    if not isinstance(value, Mapping):
        return []
    fields = {field.name: field for field in dataclasses.fields(kind)}
    errors = []
    for key in value:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            errors.append(f"{path}.{key}: there is no such key{hint} (keys: {', '.join(fields)})")
            continue
        inner = fields[key].default_factory
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            errors += check_keys(inner, value[key], f"{path}.{key}")
    return errors


def with_units(value: object, key: str = "") -> object:
    """``256 MiB`` under a key that ends in ``_bytes`` becomes a number of bytes, at any depth; all else stays."""
    if isinstance(value, dict):
        return {name: with_units(item, str(name)) for name, item in value.items()}
    if key.endswith("_bytes") and isinstance(value, str):
        match = _SIZE.fullmatch(value)
        unit = match[2].lower().removesuffix("b") if match else ""
        if match and unit in _UNITS:
            return int(float(match[1]) * _UNITS[unit])
    return value


def share(value: object) -> float:
    """A share between 0 and 1 from a number or a text such as ``0.5 %``; raises ValueError for anything else."""
    if isinstance(value, str) and value.strip().endswith("%"):
        number = float(value.strip()[:-1]) / 100
    elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
        number = float(value)
    else:
        raise ValueError("give a share such as 0.005 or 0.5 %")
    if not 0 < number < 1:
        raise ValueError(f"{value} is not between 0 and 1 (or 0 % and 100 %)")
    return number
