from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydantic import ConfigDict, ValidationError, create_model

from pairmill.filters.registry import RULES, rule_class

EXAMPLES = {
    "no_caption": {},
    "caption_length": {"max_words": 50, "max_chars": 500},
    "language": {"keep": ("en", "de"), "min_confidence": 0.5},
    "image_size": {"max_side": 4000},
    "column_range": {"column": "clip_similarity", "at_least": 0.2, "at_most": 0.9},
    "url": {"blocked_hosts": ("example.com",), "blocked_extensions": ("svg",)},
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
    given = [r.reason.replace("clip_similarity", "<column>") for r in rule.rejections()]
    assert set(given) | {"image_empty"} == set(RULES[name].reasons) | {"image_empty"}
    assert len(given) == len(set(given))


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
    section = DOCUMENT.split(f"\n## `{name}`", 1)[1].split("\n## ", 1)[0]
    for word in (*rule.reasons, *(field.name for field in dataclasses.fields(rule))):
        assert f"`{word}`" in section
    assert rule.source.split(":")[0].split("(")[0].strip() in section
