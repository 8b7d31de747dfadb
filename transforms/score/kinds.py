"""The kinds of scorers by their word in a recipe."""

from __future__ import annotations

import difflib
from importlib import import_module

from pairmill.transforms.score.scorer import Scorer

#: The module and the class of each kind, in the order of docs/scoring.md. Imported when asked for.
_CLASSES: dict[str, tuple[str, str]] = {
    "clip": ("clip_scorer", "ClipScorer"),
    "head": ("head", "HeadScorer"),
    "image_classifier": ("image_classifier", "ImageClassifierScorer"),
    "text_classifier": ("text_classifier", "TextClassifierScorer"),
    "perplexity": ("perplexity", "PerplexityScorer"),
    "text_flags": ("text_flags", "TextFlagsScorer"),
    "cluster": ("clusters", "ClusterScorer"),
    "gcld3": ("gcld3_scorer", "Gcld3Scorer"),
    "handler": ("handler_scorer", "HandlerScorer"),
}

#: The words, in that order.
SCORER_KINDS = tuple(_CLASSES)


def scorer_class(kind: str) -> type[Scorer]:
    """The class of that kind; ValueError lists the known ones, and the likely one first, when there is none."""
    if kind in _CLASSES:
        module, name = _CLASSES[kind]
        found: type[Scorer] = getattr(import_module(f"pairmill.transforms.score.{module}"), name)
        return found
    close = difflib.get_close_matches(kind, _CLASSES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"there is no scorer {kind!r}; {hint}the scorers are: {', '.join(_CLASSES)}")
