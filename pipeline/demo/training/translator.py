"""The small translator, trained from nothing on captions of the drawn world: English to German, French, Spanish."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmill.pipeline.demo.training import translator_measure
from pairmill.pipeline.demo.training.caption_tokenizer import texts_with_every_word
from pairmill.pipeline.demo.training.pictures import TRAINING_SEED
from pairmill.pipeline.demo.training.translator_data import DIRECTIONS, training_lesson, training_texts
from pairmill.pipeline.demo.training.translator_model import (
    EMBEDDINGS,
    TranslatorSize,
    translator_model,
    write_tokenizer,
)
from pairmill.transforms.model_folder import read_model_folder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import MarianMTModel, MarianTokenizer

_TOKENIZER_LESSONS = 4000
_REPORT_EVERY = 100
_IGNORED = -100


@dataclass(frozen=True)
class TranslatorCourse:
    """How the translator learns: AdamW in ``steps`` of ``batch`` captions, each in all directions.

    The learning rate rises over ``warmup`` steps and falls to nothing in a straight line.
    """

    steps: int = 1800
    batch: int = 32
    learning_rate: float = 2e-3
    warmup: int = 180
    weight_decay: float = 0.01


def train(
    out: Path,
    seed: int = TRAINING_SEED,
    size: TranslatorSize | None = None,
    course: TranslatorCourse | None = None,
) -> dict[str, Any]:
    """Train a translator and write its folder: weights as float16 in safetensors, configuration, tokenizer.

    Returns what it was: sizes, course, number of parameters, and the folder's sha256. Computes with one thread, so that
    the same seed gives the same weights on the same machine. Prints the loss every 100 steps.
    """
    import torch

    size, course = size or TranslatorSize(), course or TranslatorCourse()
    out.mkdir(parents=True, exist_ok=True)
    with translator_measure.one_thread():
        torch.manual_seed(seed)
        tokenizer = write_tokenizer(out, [*texts_with_every_word(), *training_texts(seed, _TOKENIZER_LESSONS)])
        model = translator_model(tokenizer, size)
        _teach(model, tokenizer, course, seed)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    _save(model, out)
    sha256 = read_model_folder(out).sha256
    return {"size": asdict(size), "course": asdict(course), "parameters": parameters, "sha256": sha256}


def _save(model: MarianMTModel, folder: Path) -> None:
    """Stored as float16, which halves the weights; the configuration says float32, so that they are used as that."""
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def measure(folder: Path) -> dict[str, Any]:
    """The numbers of ``translator_measure.measure_translator``.

    The captioner is the one beside the folder, or else the one that comes with pairmill.
    """
    captioners = (folder.parent / "captioner", Path(__file__).parents[1] / "trained" / "captioner")
    captioner = next((found for found in captioners if found.is_dir()), None)
    return translator_measure.measure_translator(folder, captioner)


BARS = translator_measure.BARS


def _teach(model: MarianMTModel, tokenizer: MarianTokenizer, course: TranslatorCourse, seed: int) -> None:
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=course.learning_rate, betas=(0.9, 0.98), weight_decay=course.weight_decay
    )
    embeddings, losses, begun = model.get_parameter(EMBEDDINGS), 0.0, time.monotonic()
    embeddings.register_hook(partial(_but_row, row=tokenizer.pad_token_id))
    model.train()
    for step in range(course.steps):
        for group in optimizer.param_groups:
            group["lr"] = course.learning_rate * min((step + 1) / course.warmup, 1 - step / course.steps)
        loss = _loss(model, tokenizer, range(step * course.batch, (step + 1) * course.batch), seed)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses += float(loss.detach())
        if (step + 1) % _REPORT_EVERY == 0:
            seconds = time.monotonic() - begun
            print(f"step {step + 1}: loss {losses / _REPORT_EVERY:.4f}, {seconds:.0f} s", flush=True)
            losses = 0.0
    model.eval()


def _but_row(gradient: Tensor, row: int) -> Tensor:
    """Padding stays zero: the decoder starts with it, and CTranslate2 takes that start for zero."""
    changed = gradient.clone()
    changed[row] = 0
    return changed


def _loss(model: MarianMTModel, tokenizer: MarianTokenizer, numbers: Sequence[int], seed: int) -> Tensor:
    """The mean loss of a token over the lessons of these numbers in all directions; padding is never a choice."""
    import torch

    lessons = [training_lesson(seed, number) for number in numbers]
    sources = [f"{token} {lesson.source}" for lesson in lessons for token in DIRECTIONS.values()]
    targets = [lesson.targets[language] for lesson in lessons for language in DIRECTIONS]
    inputs = tokenizer(sources, padding=True, return_tensors="pt")
    wanted = tokenizer(text_target=targets, padding=True, return_tensors="pt")
    labels = wanted.input_ids.masked_fill(wanted.attention_mask == 0, _IGNORED)
    said = torch.nn.functional.pad(wanted.input_ids[:, :-1], (1, 0), value=tokenizer.pad_token_id)
    states = model.model(**inputs, decoder_input_ids=said).last_hidden_state
    learnt = labels != _IGNORED
    choices = model.get_parameter(EMBEDDINGS)[: tokenizer.pad_token_id]  # padding is the last
    return torch.nn.functional.cross_entropy(states[learnt] @ choices.T, labels[learnt])
