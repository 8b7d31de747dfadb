"""A recipe: everything that decides a dataset, checked before any work."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pairmill.filters.no_caption import NoCaption
from pairmill.filters.rule import Rule
from pairmill.pipeline.recipe_decontamination import read_decontamination, resolve_evaluation_paths
from pairmill.pipeline.recipe_file import SHIPPED, check_keys, read_yaml, set_key, share, with_units
from pairmill.pipeline.recipe_mixture import parse_mixture, plain_mixture, resolve_mixture_files
from pairmill.pipeline.recipe_rules import parse_rules, plain_rules, resolve_rule_files
from pairmill.pipeline.recipe_scorers import RecipeScorer, read_scorers, resolve_scorer_paths
from pairmill.pipeline.recipe_section import read_section
from pairmill.pipeline.recipe_words import read_words, resolve_words_paths, words_parameters
from pairmill.sharding.embeddings import EmbeddingFormat
from pairmill.sharding.errors import UsageError
from pairmill.transforms.duplicate_settings import DuplicateSettings
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.known.evaluation_set import Decontamination
from pairmill.transforms.language import LanguageSettings
from pairmill.transforms.mixture.settings import Mixture
from pairmill.transforms.pool.spec import PoolSpec
from pairmill.transforms.score.settings import InferenceSettings
from pairmill.transforms.selection.settings import Selection
from pairmill.transforms.shard_order import ShardSettings
from pairmill.transforms.words.choice import TextChoice
from pairmill.transforms.words.recycle import RecycleSettings
from pairmill.transforms.words.step import WordsStep

#: Settings of a fetch that change how fast and how politely it goes, not what it may bring.
OPERATIONAL = frozenset(
    {
        "concurrency", "per_host", "open_blocks", "decode_threads", "prefetch", "buffer_bytes", "dns", "contact",
        "allow_hosts", "allow_private_addresses", "retries", "backoff_s", "total_timeout_s", "connect_timeout_s",
    }
)  # fmt: skip
#: What decides the numbers of scorers, or the texts of steps, by name.
Identities = Mapping[str, Mapping[str, Any]]
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
    scorers: tuple[RecipeScorer, ...] = ()
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    rules: tuple[Rule, ...] = ()
    decontamination: Decontamination | None = None
    against: tuple[str, ...] = ()
    all_reasons: bool = False
    duplicates: DuplicateSettings = field(default_factory=DuplicateSettings)
    select: tuple[Selection, ...] = ()
    words: tuple[WordsStep, ...] = ()
    text: TextChoice = field(default_factory=TextChoice)
    recycle: RecycleSettings | None = None
    mixture: Mixture | None = None
    splits: tuple[tuple[str, float], ...] = ()
    shards: ShardSettings = field(default_factory=ShardSettings)
    embeddings: EmbeddingFormat = field(default_factory=EmbeddingFormat)

    def all_rules(self) -> tuple[Rule, ...]:
        """The rules in the order in which they judge."""
        return ((NoCaption(),) if self.require_caption else ()) + self.rules

    def canonical(self, identities: Identities | None = None, words: Identities | None = None) -> dict[str, Any]:
        """What decides the dataset, as plain values; the same on every machine, without paths of one.

        ``identities``: of the scorers that run, by name: their models are told by sha256 too. ``words``: the same of
        the steps that write texts.
        """
        apart = ("rules", "scorers", "inference", "words", "text", "recycle")
        values = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name not in apart}
        values["scorers"] = {item.name: item.parameters((identities or {}).get(item.name)) for item in self.scorers}
        values["inference"] = {"precision": self.inference.precision}
        if self.words:
            values["words"] = [words_parameters(step, (words or {}).get(step.name)) for step in self.words]
            values["text"] = json.loads(json.dumps(dataclasses.asdict(self.text)))
        if self.recycle is not None:
            values["recycle"] = json.loads(json.dumps(dataclasses.asdict(self.recycle)))
        values["shards"].pop("random_read_bytes")  # says how images are read, not what is written
        values["rules"] = plain_rules(self.rules)
        values["mixture"] = plain_mixture(self.mixture, values["mixture"])
        values["pool"]["path"] = Path(self.pool.path).name
        values["pool"].pop("image_root")
        values["fetch"] = {name: value for name, value in values["fetch"].items() if name not in OPERATIONAL}
        if values["language"] and values["language"]["model"]:
            values["language"]["model"] = Path(values["language"]["model"]).name
        values["against"] = [Path(build).name for build in self.against]
        for told in (values["decontamination"] or {}).get("sets", ()):
            told["path"] = Path(told["path"]).name
        return values

    def as_yaml(self, identities: Identities | None = None, words: Identities | None = None) -> str:
        """The canonical recipe as YAML, for the manifest."""
        return yaml.safe_dump(self.canonical(identities, words), sort_keys=False, allow_unicode=True)

    def fingerprint(
        self,
        identities: Identities | None = None,
        words: Identities | None = None,
        compared_with: Mapping[str, Any] | None = None,
    ) -> str:
        """sha256 of what decides the dataset; of a model by its identity, wherever it lies and whatever its name.

        ``compared_with``: the digests of what lies outside of the recipe, its evaluation sets and earlier builds.
        """
        decided = {item.name: item.decided((identities or {}).get(item.name)) for item in self.scorers}
        # Pairs: their order is that of the columns.
        values = self.canonical() | {"scorers": list(decided.items())}
        del values["against"]  # and the paths of evaluation sets: both are told by what they hold
        for told in (values["decontamination"] or {}).get("sets", ()):
            del told["path"]
        if self.words:
            values["words"] = [[step.name, (words or {}).get(step.name)] for step in self.words]
        if compared_with:
            values["compared_with"] = compared_with
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def load_recipe(
    path: Path, pool: str | None = None, settings: tuple[str, ...] = (), against: Sequence[Path] = ()
) -> Recipe:
    """Read and check a recipe.

    ``pool`` replaces its pool's path, ``settings`` are ``KEY=VALUE`` to set on top, ``against`` are earlier
    builds beside the recipe's own.

    Paths in the file are relative to the file. Raises UsageError with one line for each thing that is wrong: the key's
    path, what is wrong with it, and what is accepted.
    """
    values = read_yaml(path)
    for assignment in settings:
        set_key(values, assignment)
    _resolve_paths(values, path.parent)
    if against and isinstance(values.setdefault("against", []), list):
        values["against"] += [str(build.resolve()) for build in against]
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
        if item.name in _OWN_READERS:
            parsed[item.name] = _OWN_READERS[item.name](value, errors)
        elif item.name in _SECTIONS:
            parsed[item.name] = read_section(_SECTIONS[item.name], value, item.name, errors)
        else:
            parsed[item.name] = read_section(_SIMPLE[item.name], value, item.name, errors)
    if errors:
        return None
    return Recipe(**parsed)


_SECTIONS: dict[str, type] = {
    "pool": PoolSpec,
    "fetch": FetchSettings,
    "image": ImageSettings,
    "inference": InferenceSettings,
    "duplicates": DuplicateSettings,
    "embeddings": EmbeddingFormat,
    "text": TextChoice,
}
_SIMPLE: dict[str, type] = {"name": str, "seed": int, "description": str, "require_caption": bool, "all_reasons": bool}


def _selections(value: object, errors: list[str]) -> tuple[Selection, ...]:
    if not isinstance(value, list):
        errors.append("select: give a list, such as [{column: clip_similarity, fraction: 0.3}]")
        return ()
    found = [read_section(Selection, item, f"select[{index}]", errors) for index, item in enumerate(value)]
    return tuple(selection for selection in found if selection is not None)


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


def _language(value: object, errors: list[str]) -> LanguageSettings | None:
    return None if value in (None, "off") else read_section(LanguageSettings, value, "language", errors)


def _against(value: object, errors: list[str]) -> tuple[str, ...]:
    """The earlier builds, each once."""
    return tuple(dict.fromkeys(read_section(tuple[str, ...], value or (), "against", errors) or ()))


def _shards(value: object, errors: list[str]) -> ShardSettings | None:
    """``auto`` alone is short for ``{auto: {}}``: the usual topology."""
    if value == "auto":
        value = {"auto": {}}
    return read_section(ShardSettings, value, "shards", errors)


def _rules(value: object, errors: list[str]) -> tuple[Rule, ...]:
    return parse_rules(value, "rules", errors)


#: Sections that are no plain dataclass, and what reads each.
_OWN_READERS: dict[str, Callable[[object, list[str]], Any]] = {
    "language": _language,
    "scorers": read_scorers,
    "rules": _rules,
    "decontamination": read_decontamination,
    "against": _against,
    "select": _selections,
    "mixture": parse_mixture,
    "words": read_words,
    "recycle": lambda value, errors: read_section(RecycleSettings, value, "recycle", errors),
    "splits": _splits,
    "shards": _shards,
}


def _resolve_paths(values: dict[str, Any], folder: Path) -> None:
    for section, key in (("pool", "path"), ("pool", "image_root"), ("language", "model")):
        inner = values.get(section)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and "://" not in inner[key]:
            inner[key] = str((folder / Path(inner[key]).expanduser()).resolve())
    resolve_scorer_paths(values, folder)
    resolve_words_paths(values, folder)
    if "mixture" in values:
        values["mixture"] = resolve_mixture_files(values["mixture"], Path.cwd() if folder == SHIPPED else folder)
    resolve_evaluation_paths(values, folder)
    if isinstance(values.get("against"), list):
        values["against"] = [str((folder / Path(str(build)).expanduser()).resolve()) for build in values["against"]]
    if "rules" in values:
        # The lists that a shipped recipe names are the user's own.
        values["rules"] = resolve_rule_files(values["rules"], Path.cwd() if folder == SHIPPED else folder)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


__all__ = ["Recipe", "load_recipe"]
