"""docs/scorers.md tells every kind, every parameter, every known head and every threshold."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from pairmill.filters.score import SCALES
from pairmill.pipeline.recipe_file import read_yaml
from pairmill.pipeline.recipe_rules import parse_rules
from pairmill.pipeline.recipe_scorers import read_scorers
from pairmill.transforms.score.kinds import SCORER_KINDS, scorer_class
from pairmill.transforms.score.known_heads import KNOWN_HEADS, KnownHead
from pairmill.transforms.score.text_flags import FLAGS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
#: Their parameters are told in docs/scoring.md.
ELSEWHERE = {"clip", "handler"}


def test_every_kind_has_its_row() -> None:
    assert {f"`{kind}`" for kind in SCORER_KINDS} <= {row[0] for row in ROWS}


@pytest.mark.parametrize("kind", [kind for kind in SCORER_KINDS if kind not in ELSEWHERE])
def test_every_parameter_is_told(kind: str) -> None:
    section = PAGE.split(f"\n## `{kind}`", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"`([a-z0-9_]+)`", section))
    assert {field.name for field in dataclasses.fields(scorer_class(kind))} <= named


@pytest.mark.parametrize("head", KNOWN_HEADS, ids=lambda head: f"{head.name} {head.clip[-1]}")
def test_every_known_head_and_threshold_is_told(head: KnownHead) -> None:
    (row,) = (row for row in ROWS if row[0] == f"`{head.name}`" and row[3] == f"`{head.scale}`")
    assert head.clip[-1].replace("ViT-", "").replace("-", "/") in row[1]
    assert "-".join(map(str, head.layers)) in row[2]
    assert head.source.split(" ")[0] in row[5]
    told = {(row[1], row[2]) for row in ROWS if row[0].startswith(f"`{head.name}`")}
    for threshold in head.thresholds:
        words = f"{threshold.bound.replace('_', ' ')} {threshold.value}"
        assert any(bound == words and use.split(" (")[0] in threshold.used_for for bound, use in told)


def test_the_recipes_of_the_page_are_recipes(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        (tmp_path / "block.yaml").write_text(block, encoding="utf-8")
        read = read_yaml(tmp_path / "block.yaml")
        sections = read if read.keys() & {"rules", "scorers"} else {"scorers": read}
        errors: list[str] = []
        assert read_scorers(sections.get("scorers"), errors) or parse_rules(sections["rules"], "rules", errors)
        parse_rules(sections.get("rules", []), "rules", errors)
        assert errors == []


def test_flags_and_scales_are_told() -> None:
    assert {f"`{flag}`" for flag in (*FLAGS, "profanity")} <= {row[0] for row in ROWS}
    rules = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8").split("\n## `score`", 1)[1].split("\n## ", 1)[0]
    assert all(f"`{scale}`" in rules for scale in SCALES)
