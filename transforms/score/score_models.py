"""What measures each column of scores: by which names a rule may call its model, and on which scale the numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pairmill.filters.score import MeasuredBy
from pairmill.transforms.score.scorer import Scorer


def measured_columns(name: str, scorer: Scorer, identity: Mapping[str, Any]) -> dict[str, MeasuredBy]:
    """The columns of scores that the scorer called ``name`` writes (``filters.score.check_models`` takes them).

    ``identity`` is what ``scorer_identity`` gives. A CLIP is named ``ARCHITECTURE/TAG`` or by its id on the hub; a
    known head by its own name, with or without its CLIP (``laion_aesthetic/ViT-B-32/openai``); any other model by its
    id on the hub, a user's own by its dotted name. A model of files alone has no name but its digest.
    """
    by = MeasuredBy(_names(scorer, identity), identity.get("sha256"), identity.get("scale"))
    return {column: by for column, dtype in scorer.columns(name).items() if dtype in (pl.Float32, pl.Float64)}


def _names(scorer: Scorer, identity: Mapping[str, Any]) -> tuple[str, ...]:
    if scorer.kind == "clip":
        return _clip_names(identity)
    if scorer.kind == "head":
        known, embedder = identity.get("known"), identity.get("embedder", {})
        return () if known is None else (*(f"{known}/{clip}" for clip in _clip_names(embedder)), known)
    named = getattr(scorer, "handler", None) or getattr(scorer, "model", None)
    if not isinstance(named, str) or getattr(scorer, "weights", None) or Path(named).expanduser().exists():
        return ()
    return (named.partition("@")[0],)


def _clip_names(identity: Mapping[str, Any]) -> tuple[str, ...]:
    model, pretrained = identity.get("model"), identity.get("pretrained")
    if not model or model == "local-dir" or pretrained == "file":
        return ()
    return (f"{model}/{pretrained}",) if pretrained else (model,)
