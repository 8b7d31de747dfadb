from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, ValidationError, create_model

from pairmill.filters.registry import JOINTS, RULES, SETS, rule_class
from pairmill.filters.rule import Rule, ValueRule
from pairmill.filters.rule_set import RuleSet
from pairmill.filters.verdict import all_reasons, first_reason

EXAMPLES = {
    "no_caption": {},
    "caption_length": {"max_words": 50, "max_chars": 500},
    "caption_words": {"require": ("dog",), "reject": ("sale",), "known": ("a", "dog", "a dog"), "known_pairs": True},
    "caption_phrases": {"contains": ("click here",), "begins": ("photo of",), "ends": (".jpg",)},
    "caption_pattern": {"reject": (r"^\d+$",), "require": ("[a-z]",)},
    "caption_repetition": {"max_repeated": 0.4},
    "caption_case": {"max_capital_words": 0.5},
    "caption_script": {},
    "language": {"keep": ("en", "de"), "min_confidence": 0.5},
    "image_size": {"max_side": 4000, "below_aspect": 2.5},
    "image_cluster": {"clusters": (3, 7)},
    "column_range": {"column": "clip_similarity", "at_least": 0.2, "at_most": 0.9},
    "score": {
        "column": "clip_similarity",
        "at_least": 0.2,
        "model": "ViT-B-32/openai",
        "scale": "cosine",
        "at_most": 0.9,
    },
    "column_difference": {
        "column": "clip_similarity",
        "minus": "clip_mirrored_similarity",
        "at_least": 0,
        "at_most": 1,
    },
    "column_values": {"column": "source_format", "keep": ("JPEG", "PNG"), "drop": ("GIF",)},
    "url": {"blocked_hosts": ("example.com",), "blocked_extensions": ("svg",)},
    "blocklist": {"kind": "sha256", "values": ("0" * 64,)},
    "allowlist": {"kind": "uid", "values": ("0" * 32,)},
}
#: What the rules' columns may hold, missing values apart.
VALUES: dict[str, list[object]] = {
    "caption": ["", "a dog", "Photo of a dog, click here", "12", "\u4e2d\u56fd.jpg"],
    "lang": ["en", "zh"],
    "lang_confidence": [0.0, 0.9, math.inf],
    "original_width": [0, 100, 300, 5000],
    "original_height": [1, 200],
    "image_cluster": [3, 4],
    "clip_similarity": [-1.0, 0.2, 0.5, math.inf],
    "clip_mirrored_similarity": [-1.0, 0.2, 0.5],
    "source_format": ["JPEG", "GIF", "WEBP"],
    "url": ["http://example.com/a.svg", "no url"],
    "sha256": ["0" * 64, "f" * 64, ""],
    "uid": ["0" * 32, "x"],
}
DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")


def test_every_rule_is_known_by_its_name():
    assert {name: rule_class(name) for name in RULES} == RULES
    assert set(RULES) == set(EXAMPLES)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no rule 'caption_lenght'; did you mean 'caption_length'\? the rules are: "):
        rule_class("caption_lenght")
    with pytest.raises(ValueError, match=r"no rule 'xyz'; the rules are: no_caption, "):
        rule_class("xyz")


@pytest.mark.parametrize("name", RULES)
def test_declared_reasons_are_those_given(name):
    rule = RULES[name](**EXAMPLES[name])
    column, kind = (str(getattr(rule, name, None)) for name in ("column", "kind"))
    declared = {reason.replace("<column>", column).replace("<kind>", kind) for reason in RULES[name].reasons}
    given = [rejection.reason for rejection in rule.rejections()]
    assert set(given) == declared
    assert len(given) == len(set(given))


def rows_of(columns: tuple[str, ...]) -> st.SearchStrategy[list[dict[str, object]]]:
    fields = {}
    for column in columns:
        missing = [None, math.nan] if isinstance(VALUES[column][0], float) else [None]
        fields[column] = st.sampled_from([*VALUES[column], *missing])
    return st.lists(st.fixed_dictionaries(fields), max_size=8)


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if issubclass(rule, ValueRule)])
@given(data=st.data())
def test_a_missing_value_has_the_outcome_that_is_stated(name, data):
    """For every rule, every column and NaN: rejected by name, or kept whatever else the row holds."""
    strict, lax = (RULES[name](**EXAMPLES[name], missing=missing) for missing in ("reject", "keep"))
    rows = data.draw(rows_of(strict.columns()))
    dtypes = {column: pl.Series(VALUES[column]).dtype for column in strict.columns()}
    frame = pl.DataFrame(rows, schema=dtypes)
    absent = [
        [c for c in strict.columns() if row[c] is None or (isinstance(row[c], float) and math.isnan(row[c]))]
        for row in rows
    ]
    rejected, kept = (first_reason([rule], frame).to_list() for rule in (strict, lax))
    for row, names in enumerate(absent):
        if names:
            assert (rejected[row], kept[row]) == (f"missing_{names[0]}", None)
        else:
            assert rejected[row] == kept[row]
            assert rejected[row] in (None, *strict.possible_reasons())
            assert rejected[row] is None or not rejected[row].startswith("missing_")
    assert [bool(reasons) for reasons in all_reasons([strict], frame).to_list()] == [
        reason is not None for reason in rejected
    ]


def test_the_outcome_of_a_missing_value_by_default():
    lax = {name for name, rule in RULES.items() if getattr(rule(**EXAMPLES[name]), "missing", "reject") == "keep"}
    assert lax == {"url", "blocklist"}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_a_field_type_of_a_recipe(name):
    recipe = create_model("Recipe", __config__=ConfigDict(extra="forbid"), rule=RULES[name])
    rule = RULES[name](**EXAMPLES[name])
    read = recipe.model_validate({"rule": EXAMPLES[name]})
    assert read.rule == rule
    assert recipe.model_validate_json(read.model_dump_json()).rule == rule
    with pytest.raises(ValidationError, match=r"rule.minimum\n"):
        recipe.model_validate({"rule": {**EXAMPLES[name], "minimum": 3}})


@pytest.mark.parametrize("name", RULES)
def test_the_document_tells_each_rule_with_its_reasons_and_parameters(name):
    rule = RULES[name]
    section = section_of(name)
    for word in (*rule.reasons, *(field.name for field in dataclasses.fields(rule))):
        assert f"`{word}`" in section
    assert rule.source.split(":")[0].split("(")[0].strip() in section
    for field in dataclasses.fields(rule):
        if isinstance(field.default, (int, float, str)):
            default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert re.search(rf"`{field.name}`\s\(`?{re.escape(default)}", section), field.name


def section_of(name: str) -> str:
    return re.split(r"\n#+ ", DOCUMENT.split(f"\n## `{name}`", 1)[1])[0]


def test_the_document_has_every_rule_in_its_table_in_the_order_of_the_registry():
    rows = re.findall(r"^\| `(\w+)` \|", DOCUMENT.split("\n## The rules\n")[1].split("\n## `")[0], re.MULTILINE)
    assert rows == list(RULES)
    sections = re.findall(r"^## `(\w+)`$", DOCUMENT, re.MULTILINE)
    assert sections == list(RULES)


SET_EXAMPLES: dict[str, dict[str, object]] = {
    "text_based": {"words": ("dog",)},
    "image_based": {"clusters": (1,)},
    "image_based_intersect_clip_score": {"clusters": (1,)},
    "align": {"frequent": ("a",), "images_of_caption": "n", "captions_of_image": "m"},
    "cc3m": {"vocabulary": ("a",), "max_repeated": 0.3, "max_capital_words": 0.5},
    "cc12m": {"vocabulary": ("a",)},
    "wukong": {"sensitive": ("a",), "repeats_of_caption": "n"},
    "wit": {"alt_text": True, "licences": ("cc0",), "pairs_of_language": "n"},
}
NUMBERS = {
    "basic_filter": ["> 2", "> 5", "200", "3.0"],
    "clip_score": ["0.25"],
    "laion2b": ["0.28"],
    "image_based": ["> 1", "> 5"],
    "align": ["3 to 20", "> 200", "< 3", "10", "1000"],
    "cc3m": ["> 400", "\u2264 2", "5 times"],
    "cc12m": ["3 to 256", "0.2", "> 400", "2.5", "20 times"],
    "wukong": ["1 to 31", "10 times", "> 200", "\u2264 3"],
    "wit": ["3 characters", "12000", "100"],
}


@pytest.mark.parametrize("name", SETS)
def test_the_document_tells_each_published_set(name):
    """Its rules, their numbers, where they come from, and each parameter."""
    page = DOCUMENT.split("\n# Published sets\n")[1]
    lines = page.split(f"\n| `{name}` |", 1)[1].split("\n| `", 1)[0].split("\n\n")[0]
    rules = SETS[name](**SET_EXAMPLES.get(name, {})).rules()
    if name != "image_based_intersect_clip_score":  # those of two other sets, it says
        assert {rule.name for rule in rules} == set(re.findall(r"`(\w+)`", lines)) & set(RULES)
    for number in NUMBERS.get(name, []):
        assert number in lines
    assert SETS[name].source.split(" (")[0].split(" ")[0] in lines
    arxiv = re.search(r"arXiv:[\d.]+|P18-1238", SETS[name].source)
    assert arxiv is not None
    assert arxiv[0] in page
    for field in dataclasses.fields(SETS[name]):
        assert f"`{field.name}`" in page


@pytest.mark.parametrize("name", JOINTS)
def test_the_document_tells_each_word_that_joins_rules(name):
    table = DOCUMENT.split("\n## Rules joined\n")[1].split("\n\n")[0]
    line = next(line for line in table.split("\n") if line.startswith(f"| `{name}` |"))
    for reason in JOINTS[name].reasons:
        assert f"`{reason}`" in line


def test_names_are_of_one_thing_each():
    names = [*RULES, *SETS, *JOINTS]
    assert len(set(names)) == len(names)
    assert all(issubclass(kind, Rule) for kind in [*RULES.values(), *JOINTS.values()])
    assert all(issubclass(kind, RuleSet) for kind in SETS.values())
