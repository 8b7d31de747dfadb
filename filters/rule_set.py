"""Several rules under one name, as a paper or a project published them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from pairmill.filters.rule import Rule


@dataclass(frozen=True, kw_only=True)
class RuleSet(ABC):
    """Published rules by name. Fields are what the recipe must bring (files, columns) or may change."""

    #: The word for the set in a recipe.
    name: ClassVar[str]
    #: The paper or the code, with its section.
    source: ClassVar[str]

    @abstractmethod
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in the order in which they judge."""
