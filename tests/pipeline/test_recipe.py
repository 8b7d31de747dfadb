"""Recipes: every mistake is one line that says where and what instead; the fingerprint is of what decides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairmill.filters.datacomp import basic_filter
from pairmill.filters.image_size import ImageSize
from pairmill.filters.no_caption import NoCaption
from pairmill.filters.registry import RULES
from pairmill.pipeline.recipe import OPERATIONAL, Recipe, load_recipe
from pairmill.pipeline.recipe_file import find_recipe, shipped_recipes
from pairmill.sharding.errors import UsageError
from pairmill.sharding.load_plan import Training
from pairmill.transforms.fetch.settings import FetchSettings

POOL = "pool: {path: pool.csv}\n"


def load(tmp_path: Path, text: str, *settings: str, pool: str | None = None) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return load_recipe(path, pool, settings)


def test_a_recipe_of_nothing_but_a_pool_has_every_default(tmp_path: Path) -> None:
    recipe = load(tmp_path, POOL)
    assert recipe == Recipe(name="r", pool=recipe.pool)
    assert recipe.pool.path == str(tmp_path / "pool.csv")
    assert recipe.all_rules() == (NoCaption(),)


def test_a_full_recipe_is_read_as_it_says(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        """
name: full
seed: 7
require_caption: false
pool: {path: data, format: files, block_rows: 100, keep_columns: [source], columns: {url: src}}
language: off
fetch: {max_bytes: 1 MiB, buffer_bytes: 64 MiB, allow_hosts: ["127.0.0.1:80"], total_timeout_s: 5}
image: {size: 256, resize_mode: no}
rules:
  - basic_filter
  - image_size
  - image_size: {min_side: 10, max_aspect: null}
duplicates: {near: measure, near_match: {max_distance: 1}}
splits: {val: 0.5 %, test: 0.1}
shards: {target_bytes: 1.5 GiB, multiple_of: 16}
""",
    )
    assert (recipe.name, recipe.seed, recipe.require_caption, recipe.language) == ("full", 7, False, None)
    assert recipe.pool.keep_columns == ("source",)
    assert recipe.fetch.max_bytes == 1 << 20
    assert recipe.fetch.allow_hosts == ("127.0.0.1:80",)
    assert recipe.image.resize_mode == "no"
    assert recipe.all_rules() == (*basic_filter(), ImageSize(), ImageSize(min_side=10, max_aspect=None))
    assert recipe.duplicates.near_match.max_distance == 1
    assert recipe.splits == (("val", pytest.approx(0.005)), ("test", 0.1))
    assert recipe.shards.target_bytes == 3 << 29


WRONG = [
    ("rule: []", "rule: there is no such key; did you mean 'rules'? (keys: name, pool, "),
    ("1: 2", "1: there is no such key"),
    ("seed: x", "seed: input should be a valid integer, unable to parse string as an integer, not 'x'"),
    ("seed: 1.5", "seed: input should be a valid integer, got a number with a fractional part, not 1.5"),
    ("seed: 1:30", "seed: input should be a valid integer"),
    ("name: [a]", "name: input should be a valid string"),
    ("require_caption: maybe", "require_caption: input should be a valid boolean"),
    ("fetch: {retry: 1}", "fetch.retry: there is no such key; did you mean 'retries'?"),
    ("fetch: {retries: many}", "fetch.retries: input should be a valid integer"),
    ("fetch: {retries: -1}", "fetch: retries: -1 is too small; give 0 or more"),
    ("fetch: {engine: curl}", "fetch.engine: input should be 'pairmill' or 'img2dataset', not 'curl'"),
    ("fetch: 5", "fetch: give a mapping of keys, not 5"),
    ("fetch: {max_bytes: 256 XB}", "fetch.max_bytes: give a number of bytes, or one with a unit such as 256 MiB"),
    ("fetch: {allow_hosts: localhost}", "fetch.allow_hosts: input should be a list, not 'localhost'"),
    ("fetch: {allow_hosts: ['http://x/']}", "fetch: allow_hosts: 'http://x/' is not a host"),
    ("image: {resize_mode: yes}", "image.resize_mode: input should be 'no', 'keep_ratio', "),
    ("image: {size: 0}", "image: size is 0; "),
    ("pool: {path: x, keep_columns: none}", "pool.keep_columns: input should be a list or 'all', not 'none'"),
    ("pool: {path: x, columns: [a]}", "pool.columns: input should be a mapping of keys"),
    ("pool: {path: x, columns: {url: 3}}", "pool.columns.url: input should be a valid string, not 3"),
    ("pool: {path: x, preset: laoin}", "pool: pool preset 'laoin' is unknown; there are "),
    ("pool: {path: 's3://b/x'}", "pool: pool path "),
    ("pool: {path: x, block_rows: 0}", "pool: pool block_rows 0 is outside 1..65536"),
    ("pool: {path: 5}", "pool.path: input should be a valid string, not 5"),
    ("pool: x.csv", "pool.path: name the pool, here or with --pool PATH"),
    ("pool: {format: csv}", "pool.path: name the pool, here or with --pool PATH"),
    ("rules: basic_filter", "rules: give a list, such as [basic_filter] or "),
    ("rules: [image_sise]", "rules[0]: there is no rule 'image_sise'; did you mean 'image_size'? the rules are: "),
    ("rules: [basic_filter, 5]", "rules[1]: give the name of a rule, or {NAME: {PARAMETER: VALUE}}"),
    ("rules:\n - image_size:\n   min_side: 200", "rules[0]: give the name of a rule, or "),
    ("rules: [{basic_filter: {x: 1}}]", "rules[0].basic_filter: stands for several rules and takes no parameters"),
    ("rules: [{image_size: 5}]", "rules[0].image_size: give a mapping of keys, not 5"),
    (
        "rules: [{image_size: {min_sid: 1}}]",
        "rules[0].image_size.min_sid: there is no such key; did you mean 'min_side'?",
    ),
    ("rules: [{image_size: {min_side: x}}]", "rules[0].image_size.min_side: input should be a valid integer"),
    ("rules: [{image_size: {min_side: -3}}]", "rules[0].image_size: image_size: min_side is -3; it must be at least 0"),
    ("rules: [column_range]", "rules[0].column_range.column: field required"),
    ("duplicates: {near_match: {max_distanc: 9}}", "duplicates.near_match.max_distanc: there is no such key; did you"),
    ("duplicates: {near_match: {max_distance: 9}}", "duplicates.near_match: near duplicates: max_distance is 9; "),
    ("duplicates: {url: drop}", "duplicates.url: input should be 'reject', 'measure' or 'off', not 'drop'"),
    ("duplicates: off", "duplicates: give a mapping of keys, not 'off'"),
    ("language: {model: 5}", "language.model: input should be a valid string, not 5"),
    ("language: true", "language: give a mapping of keys, not True"),
    ("shards: {count: 0}", "shards: count must be at least 1, not 0"),
    ("shards: many", "shards: give a mapping of keys, not 'many'"),
    ("shards: {auto: {gpu: 4}}", "shards.auto.gpu: there is no such key; did you mean 'gpus'?"),
    ("shards: {auto: {gpus: 0}}", "shards.auto: gpus must be at least 1, not 0"),
    ("shards: {auto: {}, count: 4}", "shards: auto decides the number of shards, and so does count; leave one"),
    ("splits: {val: 60 %, test: 0.4}", "splits: the shares leave nothing for train"),
    ("splits: {val: 200 %}", "splits.val: 200 % is not between 0 and 1"),
    ("splits: {val: half}", "splits.val: 'half' is no share; give one such as 0.005 or 0.5 %"),
    ("splits: {Val: 0.1}", "splits.Val: a split's name is lower-case letters, digits and _"),
    ("splits: {train: 0.1}", "splits.train: a split's name"),
    ("splits: [val]", "splits: give names with shares, such as {val: 0.5 %}"),
]


@pytest.mark.parametrize(("text", "told"), WRONG, ids=[text for text, _ in WRONG])
def test_a_mistake_is_one_line_that_names_the_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        load(tmp_path, text + "\n" if text.startswith("pool") else POOL + text + "\n")
    message = str(raised.value)
    assert message.startswith(f"recipe {tmp_path / 'r.yaml'}: {told}")
    assert "\n" not in message
    assert not re.search(r"literal\[|tuple\[|pydantic|Error\b", message)


def test_all_mistakes_are_told_at_once_a_line_each(tmp_path: Path) -> None:
    text = (
        POOL
        + "seed: x\nimage: {size: big, quality: best}\nrules: [nope, {image_size: {min_side: y}}]\nsplits: {a: 3}\n"
    )
    with pytest.raises(UsageError) as raised:
        load(tmp_path, text)
    lines = str(raised.value).splitlines()
    keys = [line.removeprefix(f"recipe {tmp_path / 'r.yaml'}: ").split(": ")[0] for line in lines]
    assert keys == ["seed", "image.size", "image.quality", "rules[0]", "rules[1].image_size.min_side", "splits.a"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imagenet21k_words.txt").write_text("dog\n")  # what DataComp's baselines ask for, in the current folder
    (tmp_path / "imagenet1k_clusters.txt").write_text("3\n")
    (tmp_path / "concepts.json").write_text('["dog"]')
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(find_recipe(name), pool=str(tmp_path))
    assert recipe.name == name
    assert recipe.description
    assert recipe.pool.path == str(tmp_path)


def test_settings_go_on_top_and_pool_replaces_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, POOL + "shards: auto\n").shards.auto == Training()
    told = POOL + "shards: {auto: {gpus: 2, workers: 3}, target_bytes: null}\n"
    assert load(tmp_path, told, "shards.auto.nodes=4").shards.auto == Training(nodes=4, gpus=2, workers=3)
    recipe = load(tmp_path, POOL + "shards:\n", "shards.count=8", "rules=[image_size]", "seed=3", pool="other.csv")
    assert (recipe.shards.count, recipe.seed, recipe.rules) == (8, 3, (ImageSize(),))
    assert recipe.pool.path == str(tmp_path / "other.csv")
    assert load(tmp_path, "name: x\n", pool="other.csv").pool.path == str(tmp_path / "other.csv")
    with pytest.raises(UsageError, match=r"shards\.cuont: there is no such key; did you mean 'count'\?"):
        load(tmp_path, POOL, "shards.cuont=8")


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    recipe = load(tmp_path, "pool: {path: a/b.csv, image_root: ../images}\nlanguage: {model: lid.bin}\n")
    assert recipe.pool.path == str(tmp_path / "a" / "b.csv")
    assert recipe.pool.image_root == str(tmp_path.parent / "images")
    assert recipe.language is not None
    assert recipe.language.model == str(tmp_path / "lid.bin")


def test_the_fingerprint_ignores_folders_and_how_fast_it_goes(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here, there = load(tmp_path, POOL), load(tmp_path / "other", POOL)
    assert here.fingerprint() == there.fingerprint()
    assert here.as_yaml() == there.as_yaml()
    values = {"contact": "a@b", "dns": "system", "allow_hosts": "[a]", "allow_private_addresses": "true"}
    for name in OPERATIONAL:
        default = getattr(FetchSettings(), name)
        value = values.get(name, str(default * 2))
        assert load(tmp_path, POOL, f"fetch.{name}={value}").fingerprint() == here.fingerprint(), name


@pytest.mark.parametrize(
    "setting",
    [
        "seed=1", "require_caption=false", "language=off", "image.size=256", "fetch.max_bytes=1000",
        "rules=[image_size]",
        "duplicates.url=off", "duplicates.near_match.max_distance=1", "splits={val: 0.1}", "shards.count=3",
        "pool.block_rows=7", "pool.columns={url: x}", "fetch.honour_opt_out=false", "name=other",
    ],
)  # fmt: skip
def test_the_fingerprint_is_of_everything_that_decides(tmp_path: Path, setting: str) -> None:
    assert load(tmp_path, POOL, setting).fingerprint() != load(tmp_path, POOL).fingerprint()


def test_the_order_of_rules_and_splits_is_part_of_the_recipe(tmp_path: Path) -> None:
    one = load(tmp_path, POOL + "rules: [image_size, language]\n")
    assert one.fingerprint() != load(tmp_path, POOL + "rules: [language, image_size]\n").fingerprint()


def test_the_text_of_a_recipe_is_a_recipe_again(tmp_path: Path) -> None:
    text = POOL + "rules: [basic_filter, image_size]\nduplicates: {near: off}\nshards: {count: 3}\n"
    recipe = load(tmp_path, text)
    values = yaml.safe_load(recipe.as_yaml())
    assert json.loads(json.dumps(values)) == json.loads(json.dumps(recipe.canonical()))
    values["splits"] = dict(values["splits"])
    again = load(tmp_path, json.dumps(values))
    assert again.fingerprint() == recipe.fingerprint()
    assert str(tmp_path) not in recipe.as_yaml()


NEEDED: dict[str, dict[str, Any]] = {
    "caption_words": {"require": ["dog"]},
    "caption_phrases": {"contains": ["click"]},
    "caption_pattern": {"reject": ["^a"]},
    "image_cluster": {"clusters": [1]},
    "column_range": {"column": "score", "at_least": 0.5},
    "score": {"column": "score", "at_least": 0.5, "model": "ViT-B-32/openai", "scale": "cosine"},
    "column_difference": {"column": "a", "minus": "b", "at_least": 0.5},
    "column_values": {"column": "source", "keep": ["a"]},
    "blocklist": {"kind": "url", "values": ["a"]},
    "allowlist": {"kind": "url", "values": ["a"]},
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_can_stand_in_a_recipe(tmp_path: Path, name: str) -> None:
    recipe = load(tmp_path, POOL + f"rules: [{json.dumps({name: NEEDED.get(name, {})})}]\n")
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in NEEDED.get(name, {}).items()}
    assert recipe.rules == (RULES[name](**lists),)
    assert hash(recipe.rules[0]) is not None
