"""A recipe: everything that decides a dataset, checked before any work."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from pairmill.filters.datacomp import basic_filter
from pairmill.filters.no_caption import NoCaption
from pairmill.filters.registry import RULES, rule_class
from pairmill.filters.rule import Rule
from pairmill.pipeline.recipe_file import check_keys, read_yaml, set_key, share, with_units
from pairmill.sharding.errors import UsageError
from pairmill.transforms.duplicate_settings import DuplicateSettings
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.language import LanguageSettings
from pairmill.transforms.pool.spec import PoolSpec
from pairmill.transforms.shard_order import ShardSettings

T = TypeVar("T")

#: Several rules under one name, as published.
RULE_SETS = {"basic_filter": basic_filter}

#: Settings of a fetch that change how fast and how politely it goes, not what it may bring.
OPERATIONAL = frozenset(
    {
        "concurrency", "per_host", "open_blocks", "decode_threads", "prefetch", "buffer_bytes", "dns", "contact",
        "allow_hosts", "allow_private_addresses", "retries", "backoff_s", "total_timeout_s", "connect_timeout_s",
    }
)  # fmt: skip
_SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. ``require_caption`` rejects pairs without text; ``language`` None measures no language.

    ``splits``: (name, share) of the pairs set apart by duplicate group; the rest is ``train``.
    """

    name: str
    pool: PoolSpec
    seed: int = 0
    description: str = ""
    require_caption: bool = True
    language: LanguageSettings | None = field(default_factory=LanguageSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    rules: tuple[Rule, ...] = ()
    duplicates: DuplicateSettings = field(default_factory=DuplicateSettings)
    splits: tuple[tuple[str, float], ...] = ()
    shards: ShardSettings = field(default_factory=ShardSettings)

    def all_rules(self) -> tuple[Rule, ...]:
        """The rules in the order in which they judge."""
        return ((NoCaption(),) if self.require_caption else ()) + self.rules

    def canonical(self) -> dict[str, Any]:
        """What decides the dataset, as plain values; the same on every machine, without paths of one."""
        values = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "rules"}
        values["rules"] = [{rule.name: dataclasses.asdict(rule)} for rule in self.rules]
        values["pool"]["path"] = Path(self.pool.path).name
        values["pool"].pop("image_root")
        values["fetch"] = {name: value for name, value in values["fetch"].items() if name not in OPERATIONAL}
        if values["language"] and values["language"]["model"]:
            values["language"]["model"] = Path(values["language"]["model"]).name
        return values

    def text(self) -> str:
        """The canonical recipe as YAML, for the manifest."""
        return yaml.safe_dump(self.canonical(), sort_keys=False, allow_unicode=True)

    def fingerprint(self) -> str:
        """sha256 of what decides the dataset."""
        return hashlib.sha256(json.dumps(self.canonical(), sort_keys=True).encode()).hexdigest()


def load_recipe(path: Path, pool: str | None = None, settings: tuple[str, ...] = ()) -> Recipe:
    """Read and check a recipe. ``pool`` replaces its pool's path; ``settings`` are ``KEY=VALUE`` to set on top.

    Paths in the file are relative to the file. Raises UsageError with one line for each thing that is wrong: the key's
    path, what is wrong with it, and what is accepted.
    """
    values = read_yaml(path)
    for assignment in settings:
        set_key(values, assignment)
    _resolve_paths(values, path.parent)
    if pool is not None:
        where = values.setdefault("pool", {})
        if isinstance(where, dict):
            where["path"] = str(Path(pool).resolve())
    values.setdefault("name", path.stem)
    errors: list[str] = []
    recipe = _parse(values, errors)
    if errors or recipe is None:
        raise UsageError("\n".join(f"recipe {path}: {line}" for line in errors))
    return recipe


def _parse(values: dict[str, Any], errors: list[str]) -> Recipe | None:
    if "pool" not in values or not isinstance(values["pool"], dict) or "path" not in values["pool"]:
        errors.append("pool.path: name the pool, here or with --pool PATH")
        return None
    errors += [line.removeprefix("recipe.") for line in check_keys(Recipe, values, "recipe")]
    if errors:
        return None
    given = {key: value for key, value in with_units(values).items() if key in values}  # type: ignore[attr-defined]
    parsed: dict[str, Any] = {}
    for item in dataclasses.fields(Recipe):
        if item.name not in given:
            continue
        value = given[item.name]
        if item.name == "rules":
            parsed["rules"] = _rules(value, errors)
        elif item.name == "splits":
            parsed["splits"] = _splits(value, errors)
        elif item.name == "language":
            parsed["language"] = (
                None if value in (None, "off") else _section(LanguageSettings, value, "language", errors)
            )
        elif item.name in _SECTIONS:
            parsed[item.name] = _section(_SECTIONS[item.name], value, item.name, errors)
        else:
            parsed[item.name] = _section(_SIMPLE[item.name], value, item.name, errors)
    if errors:
        return None
    return Recipe(**parsed)


_SECTIONS: dict[str, type] = {
    "pool": PoolSpec,
    "fetch": FetchSettings,
    "image": ImageSettings,
    "duplicates": DuplicateSettings,
    "shards": ShardSettings,
}
_SIMPLE: dict[str, type] = {"name": str, "seed": int, "description": str, "require_caption": bool}


def _section(kind: type[T], value: object, path: str, errors: list[str]) -> T | None:
    """One section as its dataclass; pydantic reads the types, the dataclass checks the values."""
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


def _rules(value: object, errors: list[str]) -> tuple[Rule, ...]:
    if not isinstance(value, list):
        errors.append("rules: give a list, such as [basic_filter] or [{image_size: {min_side: 200}}]")
        return ()
    rules: list[Rule] = []
    for index, item in enumerate(value):
        path = f"rules[{index}]"
        name: object = item
        parameters: object = {}
        if isinstance(item, Mapping) and len(item) == 1:
            name, parameters = next(iter(item.items()))
        if not isinstance(name, str):
            errors.append(
                f"{path}: give the name of a rule, or {{NAME: {{PARAMETER: VALUE}}}} (parameters are indented)"
            )
            continue
        if name in RULE_SETS:
            rules += RULE_SETS[name]()
            if parameters:
                errors.append(f"{path}.{name}: stands for several rules and takes no parameters; list them instead")
            continue
        try:
            kind = rule_class(name)
        except ValueError as error:
            errors.append(f"{path}: {error}, {', '.join(RULE_SETS)}")
            continue
        rule = _section(kind, parameters, f"{path}.{name}", errors)
        if rule is not None:
            rules.append(rule)
    return tuple(rules)


def _splits(value: object, errors: list[str]) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, Mapping):
        errors.append("splits: give names with shares, such as {val: 0.5 %}")
        return ()
    found = []
    for name, part in value.items():
        if not _SPLIT_NAME.fullmatch(str(name)) or name == "train":
            errors.append(f"splits.{name}: a split's name is lower-case letters, digits and _; train is the rest")
            continue
        try:
            found.append((str(name), share(part)))
        except ValueError as error:
            errors.append(f"splits.{name}: {error}")
    if sum(part for _, part in found) >= 1:
        errors.append("splits: the shares leave nothing for train")
    return tuple(found)


def _resolve_paths(values: dict[str, Any], folder: Path) -> None:
    for section, key in (("pool", "path"), ("pool", "image_root"), ("language", "model")):
        inner = values.get(section)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and "://" not in inner[key]:
            inner[key] = str((folder / Path(inner[key]).expanduser()).resolve())


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


__all__ = ["RULES", "RULE_SETS", "Recipe", "load_recipe"]
