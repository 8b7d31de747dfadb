"""What the small CLIP learns from: pictures, their true captions, and captions that are nearly true.

The wrong captions of a picture are of four sorts: wrong in one point as a pool's are, with a property of one group
given to the other, of quite another scene, or no caption at all. Of the junk texts of the pools none is shown: what is
learnt from random letters must do for them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pairmill.pipeline.demo.chance import Chance
from pairmill.pipeline.demo.grammar import LANGUAGES, caption
from pairmill.pipeline.demo.misstated import POINTS, misstated, other_scene
from pairmill.pipeline.demo.pairs import BLANK_CAPTION
from pairmill.pipeline.demo.scene import COLOURS, Scene
from pairmill.pipeline.demo.training.clip_tokenizer import clip_tokenizer
from pairmill.pipeline.demo.training.labels import FACTS, NONE, PATCH_FACTS, fact_labels, patch_labels
from pairmill.pipeline.demo.training.pictures import small_picture, training_scene
from pairmill.pipeline.demo.training.vision import TowerSize

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

#: Wrong captions of each picture.
WRONG = 3
#: More than half of the captions are English, as in a pool.
_ENGLISH_SHARE = 0.55
_VARIANTS = 1000
#: Of so many pictures one shows nothing, and its caption says so.
_BLANK_ONE_IN = 128
#: Stream of chance that chooses captions.
_CAPTIONS = 18
_LETTERS = "eeeettaaooiinnsshhrrddlucmwfgypbvkjxqz"
_PLAIN_WORDS = (
    *("the", "this", "image", "picture", "of", "in", "on", "and", "a"),
    *("with", "see", "you", "to", "at", "here"),
)


class Lesson(NamedTuple):
    """A true caption and ``WRONG`` wrong ones, each with the scene that it speaks of; None: of no scene."""

    texts: list[str]
    scenes: list[Scene | None]


def lesson(scene: Scene, chance: Chance, seed: int, number: int) -> Lesson:
    """What is said of a scene to teach its picture."""
    language, variant = _language(chance), chance.below(_VARIANTS)
    points = [point for point in POINTS if point != "relation" or len(scene.groups) > 1]
    wrong: list[Scene | None] = [misstated(scene, points.pop(chance.below(len(points)))) for _ in range(WRONG)]
    kind = chance.share()  # instead of most of the last ones, another sort
    if kind < 0.4:
        wrong[-1] = _swapped(scene, chance) or wrong[-1]
    elif kind < 0.5:
        wrong[-1] = other_scene(seed, number, scene)
    elif kind < 0.65:
        wrong[-1] = None
    texts = [caption(scene, language, variant)]
    for each in wrong:
        same = chance.share() < 0.5  # the same words but for what is wrong, or other ones
        texts.append(
            junk(chance) if each is None else caption(each, language, variant if same else chance.below(_VARIANTS))
        )
    return Lesson(texts, [scene, *wrong])


def blank_lesson(chance: Chance, seed: int, number: int) -> Lesson:
    """The same for a picture of nothing."""
    others = [training_scene(seed, number + further) for further in range(1, WRONG)]
    texts = [BLANK_CAPTION, *(caption(other, _language(chance), chance.below(_VARIANTS)) for other in others)]
    return Lesson([*texts, junk(chance)], [None] * (WRONG + 1))


def junk(chance: Chance) -> str:
    """A text that says nothing of any scene: words of random letters, numbers, plain words, in lower or upper case."""
    words = [_random_word(chance) for _ in range(1 + chance.below(12))]
    text = chance.pick((" ", " ", " ", "_", "-")).join(words)
    return text.upper() if chance.share() < 0.1 else text


def _random_word(chance: Chance) -> str:
    kind = chance.share()
    if kind < 0.35:
        return chance.pick(_PLAIN_WORDS)
    if kind < 0.45:
        return str(chance.below(10 ** (1 + chance.below(5))))
    word = "".join(chance.pick(_LETTERS) for _ in range(2 + chance.below(9)))
    return word + chance.pick((",", ".", ".jpg", ".png")) if kind > 0.95 else word


def _language(chance: Chance) -> str:
    languages = tuple(LANGUAGES)
    return "en" if chance.share() < _ENGLISH_SHARE else languages[1 + chance.below(len(languages) - 1)]


def _swapped(scene: Scene, chance: Chance) -> Scene | None:
    """The scene with a colour, count or thing of the one group given to the other; None where they have the same."""
    if len(scene.groups) < 2:
        return None
    first, second = scene.groups
    # What holds another thing must be one that can.
    field = "colour" if scene.relation == "inside" else chance.pick(("colour", "count", "thing"))
    values = getattr(first, field), getattr(second, field)
    if values[0] == values[1]:
        return None
    pairs = zip(scene.groups, reversed(values), strict=True)
    return replace(scene, groups=tuple(replace(group, room=0, **{field: value}) for group, value in pairs))


@lru_cache(maxsize=1)
def _tokenizer(context_length: int) -> PreTrainedTokenizerFast:
    return clip_tokenizer(context_length)


def pair_batch(size: TowerSize, context_length: int, batch: int, seed: int, first: int, step: int) -> list[Tensor]:
    """Pictures, their facts and those of their patches, texts, and the facts that the texts state.

    uint8 (batch, side, side, 3), int64 (batch, facts), (batch, patches, patch facts), (1 + WRONG, batch, tokens),
    (1 + WRONG, batch, facts). The first of the texts are the true ones. Scenes are numbered from ``first`` on.
    """
    import torch

    pixels, facts, patches, texts, stated = [], [], [], [], []
    for number in range(first + step * batch, first + (step + 1) * batch):
        chance = Chance(seed, _CAPTIONS, number)
        if number % _BLANK_ONE_IN == 0:
            pixels.append(_blank(size.image_size, chance))
            said = blank_lesson(chance, seed, number)
            facts.append(_NO_FACTS)
            patches.append(np.zeros((size.grid**2, len(PATCH_FACTS)), np.int64))
        else:
            scene = training_scene(seed, number)
            picture, box = small_picture(scene, size.image_size, seed, number)
            said = lesson(scene, chance, seed, number)
            pixels.append(picture)
            facts.append(fact_labels(scene))
            patches.append(patch_labels(scene, box, size.grid))
        texts.append(said.texts)
        stated.append([_NO_FACTS if each is None else fact_labels(each) for each in said.scenes])
    flat = [row[place] for place in range(1 + WRONG) for row in texts]
    ids = _tokenizer(context_length)(flat, truncation=True, max_length=context_length, padding=True)["input_ids"]
    arrays = [np.stack(pixels), np.stack(facts), np.stack(patches)]
    arrays += [np.array(ids, np.int64).reshape(1 + WRONG, batch, -1), np.array(stated, np.int64).swapaxes(0, 1)]
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


_NO_FACTS = np.full(len(FACTS), NONE, np.int64)


def _blank(side: int, chance: Chance) -> np.ndarray:
    """An even surface of some pale colour, or of one of the world's."""
    colour = chance.pick(tuple(COLOURS.values())) if chance.share() < 0.2 else [120 + chance.below(120)] * 3
    shifted = [min(255, max(0, value + chance.below(41) - 20)) for value in colour]
    return np.broadcast_to(np.array(shifted, np.uint8), (side, side, 3)).copy()
