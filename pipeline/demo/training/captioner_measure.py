"""Whether a captioner says what is there: its captions of held-out pictures, read back as facts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pairmill.pipeline.demo.forms import picture_file
from pairmill.pipeline.demo.grammar import Facts, caption, facts_of, read_facts
from pairmill.pipeline.demo.misstated import other_scene
from pairmill.pipeline.demo.scene import Scene, scene_at
from pairmill.pipeline.demo.training.captioner_data import ALT_TEXT, PROMPTS, styled
from pairmill.pipeline.demo.training.captioner_folder import Captioner
from pairmill.pipeline.demo.training.pictures import HELD_OUT_SEED

#: What a caption can be right about.
KINDS = ("colour", "count", "object", "relation")


def held_out(count: int, start: int = 0) -> tuple[list[Scene], list[Image.Image]]:
    """Scenes that no training and no pool has, and their pictures as a pool stores them, decoded."""
    numbers = range(start, start + count)
    files = [picture_file(HELD_OUT_SEED, "plain", number) for number in numbers]
    pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    return [scene_at(HELD_OUT_SEED, number) for number in numbers], pictures


def facts_right(said: Facts | None, shown: Facts) -> dict[str, bool]:
    """Of each of ``KINDS`` whether all of it is right, and ``facts``: whether everything is."""
    if said is None:
        return dict.fromkeys((*KINDS, "facts"), False)
    told, true = ([m for m in (facts.first, facts.second) if m is not None] for facts in (said, shown))
    right = {
        "colour": [m.colour for m in told] == [m.colour for m in true],
        "count": [m.count for m in told] == [m.count for m in true],
        "object": [m.thing for m in told] == [m.thing for m in true],
        "relation": said.relation == shown.relation,
    }
    return {**right, "facts": said == shown}


def score(captions: Sequence[str], scenes: Sequence[Scene], language: str = "en") -> dict[str, float]:
    """The share of captions that are right, of each kind and in all; of no caption it is 0."""
    judged = [
        facts_right(read_facts(said, language), facts_of(scene)) for said, scene in zip(captions, scenes, strict=True)
    ]
    return {kind: round(sum(right[kind] for right in judged) / max(1, len(judged)), 4) for kind in ("facts", *KINDS)}


def measure_captioner(folder: Path, scenes: int = 1000) -> dict[str, Any]:
    """How well the captioner in a folder does on held-out scenes: the shares of ``score`` for its first prompt.

    ``misled`` has ``facts`` where the prompt quotes the caption of another picture; ``prompts`` has them for the first
    prompt of each style and language, with ``exact``: the share that is word for word what was asked for. These are of
    a fifth of the scenes.
    """
    model = Captioner(folder, ("llava",))
    shown, pictures = held_out(scenes)
    few = max(1, scenes // 5)
    measured = {"scenes": scenes, **score(model.captions(pictures, PROMPTS["short", "en"][0]), shown)}
    misled = _misled(model, shown[:few], pictures[:few])
    return {**measured, "misled": misled, "prompts": _by_prompt(model, shown[:few], pictures[:few])}


def _misled(model: Captioner, scenes: Sequence[Scene], pictures: Sequence[Image.Image]) -> float:
    """``facts`` where each prompt quotes a caption that has nothing to do with its picture."""
    others = [other_scene(HELD_OUT_SEED, number, scene) for number, scene in enumerate(scenes)]
    prompts = [" ".join((ALT_TEXT[0][0].format(caption(other)), PROMPTS["short", "en"][0])) for other in others]
    return score(model.captions(pictures, prompts), scenes)["facts"]


def _by_prompt(
    model: Captioner, scenes: Sequence[Scene], pictures: Sequence[Image.Image]
) -> dict[str, dict[str, dict[str, float]]]:
    """Style → language → ``facts`` and ``exact``."""
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for (style, language), prompts in PROMPTS.items():
        captions = model.captions(pictures, prompts[0])
        exact = [said == styled(scene, style, language) for said, scene in zip(captions, scenes, strict=True)]
        numbers = {"facts": score(captions, scenes, language)["facts"], "exact": round(sum(exact) / len(exact), 4)}
        measured.setdefault(style, {})[language] = numbers
    return measured


def measure_git_captioner(folder: Path, scenes: int = 1000) -> dict[str, Any]:
    """How well the GIT model in a folder does on held-out scenes: the shares of ``score``."""
    model = Captioner(folder, ("git",))
    shown, pictures = held_out(scenes)
    return {"scenes": scenes, **score(model.captions(pictures), shown)}
