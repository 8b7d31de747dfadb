"""The rules, and the sets of rules, by their names in a recipe."""

from __future__ import annotations

import difflib

from pairmill.filters.align import Align
from pairmill.filters.blocklist import Allowlist, Blocklist
from pairmill.filters.by import By
from pairmill.filters.caption_case import CaptionCase
from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.caption_pattern import CaptionPattern
from pairmill.filters.caption_phrases import CaptionPhrases
from pairmill.filters.caption_repetition import CaptionRepetition
from pairmill.filters.caption_script import CaptionScript
from pairmill.filters.caption_words import CaptionWords
from pairmill.filters.column_difference import ColumnDifference
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.column_values import ColumnValues
from pairmill.filters.combine import COMBINATIONS
from pairmill.filters.conceptual_captions import CC3M, CC12M
from pairmill.filters.datacomp import (
    BasicFilter,
    ClipScore,
    ImageBased,
    ImageBasedClipScore,
    Laion2B,
    NoFilter,
    TextBased,
)
from pairmill.filters.image_cluster import ImageCluster
from pairmill.filters.image_size import ImageSize
from pairmill.filters.language import Language
from pairmill.filters.no_caption import NoCaption
from pairmill.filters.rule import Rule
from pairmill.filters.rule_set import RuleSet
from pairmill.filters.score import Score
from pairmill.filters.url import Url
from pairmill.filters.wit import Wit
from pairmill.filters.wukong import Wukong

#: Every rule that pairmill ships, by name, in the order of docs/rules.md.
RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        NoCaption,
        CaptionLength,
        CaptionWords,
        CaptionPhrases,
        CaptionPattern,
        CaptionRepetition,
        CaptionCase,
        CaptionScript,
        Language,
        ImageSize,
        ImageCluster,
        ColumnRange,
        Score,
        ColumnDifference,
        ColumnValues,
        Url,
        Blocklist,
        Allowlist,
    )
}

#: Every published set of rules, by name, in the order of docs/rules.md.
SETS: dict[str, type[RuleSet]] = {
    rules.name: rules
    for rules in (
        NoFilter,
        BasicFilter,
        TextBased,
        ClipScore,
        Laion2B,
        ImageBased,
        ImageBasedClipScore,
        Align,
        CC3M,
        CC12M,
        Wukong,
        Wit,
    )
}

#: The words that hold other rules.
JOINTS: dict[str, type[Rule]] = {**COMBINATIONS, By.name: By}


def rule_class(name: str) -> type[Rule]:
    """The rule of that name; ValueError lists the known ones, and the likely one first, when there is none."""
    if name in RULES:
        return RULES[name]
    close = difflib.get_close_matches(name, [*RULES, *SETS, *JOINTS], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"there is no rule {name!r}; {hint}the rules are: {', '.join([*RULES, *SETS, *JOINTS])}")
