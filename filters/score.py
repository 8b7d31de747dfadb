"""A bound on a score that names the model and the scale it was chosen for."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pairmill.filters.column_range import ColumnRange
from pairmill.filters.rule import Rule

Scale = Literal["cosine", "probability", "0-10", "perplexity", "other"]
#: Between which numbers a threshold on each scale can lie.
SCALES: dict[Scale, tuple[float, float]] = {
    "cosine": (-1.0, 1.0),
    "probability": (0.0, 1.0),
    "0-10": (0.0, 10.0),
    "perplexity": (1.0, math.inf),
    "other": (-math.inf, math.inf),
}
_DIGEST = re.compile(r"sha256:([0-9a-f]{8,64})")
_QUICK_GELU = re.compile(r"-quickgelu(?=/|$)")


@dataclass(frozen=True, kw_only=True)
class Score(ColumnRange):
    """Keeps rows with ``at_least`` <= score <= ``at_most``, where the score is of the ``model`` that is named.

    ``model`` is what the bounds were chosen for: ``ViT-B-32/openai`` (architecture and weights in open_clip), a known
    head (``improved_aesthetic``), the id of a model on the hub, or ``sha256:`` with 8 digits at least of the digest of
    its weights. Where a scorer of the recipe measures the column, another model is refused before any work; the model
    of a column that the pool brings is taken on trust. ``scale`` says in what the bounds are given, and bounds that
    cannot lie on it are refused.
    """

    name: ClassVar[str] = "score"
    source: ClassVar[str] = "no defaults: a threshold holds for one model on one scale, and the recipe names both"

    model: str
    scale: Scale

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model.strip():
            raise ValueError(f"{self.name}: name the model that the bounds on {self.column!r} were chosen for")
        if self.model.startswith("sha256:") and not _DIGEST.fullmatch(self.model):
            raise ValueError(f"{self.name}: model is {self.model!r}; after sha256: give 8 to 64 hex digits")
        if self.scale not in SCALES:
            raise ValueError(f"{self.name}: scale is {self.scale!r}; it must be one of {', '.join(get_args(Scale))}")
        low, high = SCALES[self.scale]
        for name, bound in (("at_least", self.at_least), ("at_most", self.at_most)):
            if bound is not None and not low <= bound <= high:
                raise ValueError(f"{self.name}: {name} {bound} is not on the scale {self.scale}, {low:g} to {high:g}")


@dataclass(frozen=True)
class MeasuredBy:
    """What measures a column: names that its model goes by, the digest of its weights, and the scale of its numbers.

    ``scale`` None: nobody knows, and the rule is believed.
    """

    models: tuple[str, ...]
    sha256: str | None = None
    scale: Scale | None = None

    def is_model(self, named: str) -> bool:
        """Whether a rule that names this model means what measures the column."""
        if digest := _DIGEST.fullmatch(named):
            return self.sha256 is not None and self.sha256.startswith(digest[1])
        return _plain(named) in {_plain(model) for model in self.models}

    def told(self) -> str:
        """The model in an error's words."""
        names = list(self.models[:1])
        if self.sha256 is not None:
            names.append(f"sha256:{self.sha256[:12]}")
        return " or ".join(names) or "a model without a name"


def check_models(rules: Iterable[Rule], measured: Mapping[str, MeasuredBy]) -> None:
    """Raises ValueError with one line where a ``score`` rule was made for another model or scale than a column has.

    ``measured`` are the columns that scorers of the recipe write. Rules within rules are looked at too.
    """
    for rule in _all_rules(rules):
        if not isinstance(rule, Score) or rule.column not in measured:
            continue
        by = measured[rule.column]
        if not by.is_model(rule.model):
            raise ValueError(
                f"rule score: its bounds on {rule.column} are for {rule.model}, and the recipe measures it with "
                f"{by.told()}; choose bounds for that model and name it, or score with the other"
            )
        if by.scale is not None and by.scale != rule.scale:
            raise ValueError(f"rule score: {rule.column} is on the scale {by.scale}, and the bounds on {rule.scale}")


def _all_rules(value: object) -> Iterator[Rule]:
    """Every rule in a value, those within others included."""
    if isinstance(value, Rule):
        yield value
        for field in dataclasses.fields(value):
            yield from _all_rules(getattr(value, field.name))
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        for item in value:
            yield from _all_rules(item)


def _plain(model: str) -> str:
    """The weights settle whether a model has the quick GELU, so that both names of an architecture mean one model."""
    return _QUICK_GELU.sub("", model.strip().removeprefix("hf-hub:").casefold())
