"""The section ``rules`` of a recipe: rules, published sets, rules joined to one, lists in files, values by a column."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairmill.filters.by import By
from pairmill.filters.combine import COMBINATIONS, AllOf, Combination
from pairmill.filters.registry import JOINTS, RULES, SETS, rule_class
from pairmill.filters.rule import Rule
from pairmill.filters.rule_set import RuleSet
from pairmill.pipeline.recipe_file import check_keys
from pairmill.pipeline.recipe_section import read_section
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.value_list import ListFile, list_file

_BY_KEYS = ("by", "values", "otherwise")


def parse_rules(value: object, path: str, errors: list[str]) -> tuple[Rule, ...]:
    """The rules of a recipe in its order; ``errors`` gets a line, which begins with ``path``, for each thing wrong.

    Lists in files are read here, for their digests and to see that they hold what they should.
    """
    if not isinstance(value, list):
        errors.append(f"{path}: give a list, such as [basic_filter] or [{{image_size: {{min_side: 200}}}}]")
        return ()
    found: list[str] = []
    rules = [rule for index, item in enumerate(value) for rule in _item(item, f"{path}[{index}]", found)]
    errors += dict.fromkeys(found)  # what is wrong for every value of a column is told once
    return tuple(rules)


def plain_rules(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    """The rules as plain values, the same on every machine: a list in a file is its name and digest."""
    return [_plain_rule(rule) for rule in rules]


def resolve_rule_files(value: object, folder: Path) -> object:
    """The section with the files of lists made absolute, seen from the recipe's ``folder``."""
    if isinstance(value, list):
        return [resolve_rule_files(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("file"), str):
        return {**value, "file": str((folder / Path(value["file"]).expanduser()).resolve())}
    return {key: resolve_rule_files(item, folder) for key, item in value.items()}


def describe_rules() -> list[str]:
    """A line for each rule, each published set and each word that joins rules, with what it does and its source."""
    lines = [f"{name}: {', '.join(kind.reasons)} ({kind.source})" for name, kind in RULES.items()]
    for name, rules in SETS.items():
        keys = ", ".join(field.name for field in dataclasses.fields(rules))
        lines.append(f"{name}: {_first_line(rules)}{f' Parameters: {keys}.' if keys else ''} ({rules.source})")
    return lines + [f"{name}: {_first_line(kind)}" for name, kind in JOINTS.items()]


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").split("\n\n")[0].replace("\n", " ").replace("    ", "").replace("``", "").strip()


def _item(item: object, path: str, errors: list[str]) -> tuple[Rule, ...]:
    """One entry of a list of rules; a published set gives several."""
    name, parameters = item, None
    if isinstance(item, Mapping) and len(item) == 1:
        name, parameters = next(iter(item.items()))
    if not isinstance(name, str):
        errors.append(f"{path}: give the name of a rule, or {{NAME: {{PARAMETER: VALUE}}}} (parameters are indented)")
        return ()
    path, inside = f"{path}.{name}", path
    if name == By.name:
        return _by(parameters, path, errors)
    if name in COMBINATIONS:
        return _combination(COMBINATIONS[name], parameters, path, errors)
    if name in SETS:
        return _rules(SETS[name], parameters, path, errors)
    try:
        kind = rule_class(name)
    except ValueError as error:
        errors.append(f"{inside}: {error}")
        return ()
    return _rules(kind, parameters, path, errors)


def _rules(kind: type[Rule] | type[RuleSet], parameters: object, path: str, errors: list[str]) -> tuple[Rule, ...]:
    """A rule, or the rules of a set, with their parameters; one that goes by a column when a parameter does."""
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, Mapping):
        errors.append(f"{path}: give a mapping of keys, not {parameters!r}")
        return ()
    if parameters and not dataclasses.fields(kind):
        errors.append(f"{path}: stands for several rules and takes no parameters; list them instead")
        return ()
    if wrong := check_keys(kind, parameters, path):
        errors += wrong
        return ()
    by = [key for key, value in parameters.items() if isinstance(value, Mapping) and "by" in value]
    if by:
        return _by_parameter(kind, parameters, by, path, errors)
    return _read(kind, parameters, path, errors)


def _read(
    kind: type[Rule] | type[RuleSet], parameters: Mapping[str, Any], path: str, errors: list[str]
) -> tuple[Rule, ...]:
    """The same with every parameter at hand. Lists in files are read, and what cannot be in them is told."""
    told = len(errors)
    known = {key: _list(value, f"{path}.{key}", errors) for key, value in parameters.items()}
    made = read_section(kind, known, path, errors) if len(errors) == told else None
    if made is None:
        errors[told:] = _of_lists(errors[told:])
        return ()
    try:
        rules = made.rules() if isinstance(made, RuleSet) else (made,)
        for rule in rules:
            rule.checks()  # reads the lists
    except (ValueError, PairmillError) as error:
        errors.append(f"{path}: {error}")
        return ()
    return rules


def _list(value: object, path: str, errors: list[str]) -> object:
    """``{file: PATH}`` as the list in that file; anything else as it is."""
    if not isinstance(value, Mapping) or "file" not in value:
        return value
    for key in value:
        if key not in ("file", "sha256"):
            errors.append(f"{path}.{key}: there is no such key (keys: file, sha256)")
            return None
    if not isinstance(value["file"], str):
        errors.append(f"{path}.file: give the path of a file, not {value['file']!r}")
        return None
    try:
        listed = list_file(value["file"])
    except ValueError as error:
        errors.append(f"{path}.file: {error}")
        return None
    if value.get("sha256") not in (None, listed.sha256):
        errors.append(f"{path}.sha256: {value['file']} has the sha256 {listed.sha256}, not {value['sha256']}")
        return None
    return listed


def _of_lists(errors: list[str]) -> list[str]:
    """What pydantic says of a list that may be a file as well, once and in words of a recipe."""
    files = {line.split(".ListFile")[0] for line in errors if ".ListFile" in line}
    told = [line for line in errors if ".ListFile" not in line]
    return [
        line.replace("input should be a list", "give a list, or {file: PATH}") if line.split(": ")[0] in files else line
        for line in told
    ]


def _by_parameter(
    kind: type[Rule] | type[RuleSet], parameters: Mapping[str, Any], keys: list[str], path: str, errors: list[str]
) -> tuple[Rule, ...]:
    """A rule of which parameters go by a column: all those that go by the first one's, then the rest."""
    column = parameters[keys[0]]["by"]
    keys = [key for key in keys if parameters[key]["by"] == column]
    told = len(errors)
    for key in keys:
        _check_by(parameters[key], f"{path}.{key}", errors)
    if len(errors) > told:
        return ()
    named = dict.fromkeys(value for key in keys for value in parameters[key]["values"])

    def rules_for(value: object) -> tuple[Rule, ...]:
        of_value = {key: parameters[key]["values"].get(value, parameters[key]["otherwise"]) for key in keys}
        return _rules(kind, {**parameters, **of_value}, path, errors)

    values = tuple((_value(value), rules_for(value)) for value in named)
    otherwise = _rules(kind, {**parameters, **{key: parameters[key]["otherwise"] for key in keys}}, path, errors)
    return _made(functools.partial(By, column=column, values=values, otherwise=otherwise), path, errors, told)


def _check_by(value: Mapping[str, Any], path: str, errors: list[str]) -> None:
    for key in value:
        if key not in _BY_KEYS:
            errors.append(f"{path}.{key}: there is no such key (keys: {', '.join(_BY_KEYS)})")
    if not isinstance(value["by"], str):
        errors.append(f"{path}.by: give the name of a column, not {value['by']!r}")
    if not isinstance(value.get("values"), Mapping) or not value["values"]:
        errors.append(f"{path}.values: give what it is for each value of the column, such as {{en: 0.28, de: 0.25}}")
    elif None in value["values"]:
        errors.append(f"{path}.values: for rows without a value there is otherwise")
    if "otherwise" not in value:
        errors.append(f"{path}.otherwise: give what it is for every other value of the column, and for none")


def _by(parameters: object, path: str, errors: list[str]) -> tuple[Rule, ...]:
    """``by: {column: lang, values: {zh: [RULES], en: [RULES]}, otherwise: [RULES]}``."""
    if not isinstance(parameters, Mapping) or "column" not in parameters:
        errors.append(f"{path}: give {{column: COLUMN, values: {{VALUE: [RULES]}}, otherwise: [RULES]}}")
        return ()
    told = len(errors)
    _check_by({**{k: v for k, v in parameters.items() if k != "column"}, "by": parameters["column"]}, path, errors)
    if len(errors) > told:
        return ()
    values = tuple(
        (_value(value), _several(rules, f"{path}.values.{value}", errors))
        for value, rules in parameters["values"].items()
    )
    otherwise = _several(parameters["otherwise"], f"{path}.otherwise", errors)
    return _made(
        functools.partial(By, column=parameters["column"], values=values, otherwise=otherwise), path, errors, told
    )


def _combination(kind: type[Combination], parameters: object, path: str, errors: list[str]) -> tuple[Rule, ...]:
    """``any_of: [RULES]``, or ``any_of: {of: [RULES], reason: WORD}``; a set inside counts as one rule."""
    given = {"of": parameters} if isinstance(parameters, list) else parameters
    if not isinstance(given, Mapping) or not isinstance(given.get("of"), list):
        errors.append(f"{path}: give a list of rules, or {{of: [RULES], reason: WORD}}")
        return ()
    if wrong := check_keys(kind, given, path):
        errors += wrong
        return ()
    told = len(errors)
    inside = path if given is not parameters else f"{path}.of"
    parts = [_item(item, f"{inside}[{index}]", errors) for index, item in enumerate(given["of"])]
    of = tuple(part[0] if len(part) == 1 else AllOf(of=part) for part in parts)
    others = {key: value for key, value in given.items() if key != "of"}
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING and field.name not in given:
            errors.append(f"{path}.{field.name}: field required")
    if not isinstance(others.get("k", 1), int) or not isinstance(others.get("reason", ""), str):
        errors.append(f"{path}: k is a whole number and reason a word")
    return _made(functools.partial(kind, of=of, **others), path, errors, told)


def _several(value: object, path: str, errors: list[str]) -> tuple[Rule, ...]:
    if not isinstance(value, list):
        errors.append(f"{path}: give a list of rules; [] for none")
        return ()
    return tuple(rule for index, item in enumerate(value) for rule in _item(item, f"{path}[{index}]", errors))


def _made(make: functools.partial[Any], path: str, errors: list[str], told: int) -> tuple[Rule, ...]:
    """What ``make`` gives, unless ``errors`` has grown since it was ``told`` long."""
    if len(errors) > told:
        return ()
    try:
        return (make(),)
    except ValueError as error:
        errors.append(f"{path}: {error}")
        return ()


def _value(value: object) -> str:
    """A value of a column as the column has it as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain_rule(rule: Rule) -> dict[str, Any]:
    if isinstance(rule, By):
        values = {value: plain_rules(rules) for value, rules in rule.values}
        return {rule.name: {"column": rule.column, "values": values, "otherwise": plain_rules(rule.otherwise)}}
    told = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}
    if isinstance(rule, Combination):
        told["of"] = plain_rules(rule.of)
        return {rule.name: {key: value for key, value in told.items() if value is not None}}
    return {rule.name: {key: _plain_value(value) for key, value in told.items()}}


def _plain_value(value: object) -> object:
    if isinstance(value, ListFile):
        return {"file": Path(value.file).name, "sha256": value.sha256}
    return list(value) if isinstance(value, tuple) else value
