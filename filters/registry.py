"""The rules by their names in a recipe."""

from __future__ import annotations

import difflib

from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.image_size import ImageSize
from pairmill.filters.language import Language
from pairmill.filters.no_caption import NoCaption
from pairmill.filters.rule import Rule
from pairmill.filters.url import Url

#: Every rule that pairmill ships, by name, in the order of docs/rules.md.
RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (NoCaption, CaptionLength, Language, ImageSize, ColumnRange, Url)
}


def rule_class(name: str) -> type[Rule]:
    """The rule of that name; ValueError lists the known ones, and the likely one first, when there is none."""
    if name in RULES:
        return RULES[name]
    close = difflib.get_close_matches(name, RULES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"there is no rule {name!r}; {hint}the rules are: {', '.join(RULES)}")
