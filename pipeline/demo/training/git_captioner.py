"""A second small captioner, of the GIT kind: it has no chat, and says the one short caption that it was taught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmill.pipeline.demo.training.caption_tokenizer import END, PAD, START, texts_with_every_word, word_tokenizer
from pairmill.pipeline.demo.training.captioner import IGNORED
from pairmill.pipeline.demo.training.captioner_data import styled
from pairmill.pipeline.demo.training.captioner_folder import save_captioner
from pairmill.pipeline.demo.training.captioner_measure import measure_git_captioner
from pairmill.pipeline.demo.training.captioner_vision import FIRST_OF_GIT, clip_beside, clip_tower, training_pictures
from pairmill.pipeline.demo.training.course import Course, teach
from pairmill.pipeline.demo.training.pictures import TRAINING_SEED, training_scene
from pairmill.pipeline.demo.training.vision import hugging_face_processor

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import CLIPVisionConfig, GitForCausalLM, PreTrainedTokenizerFast

#: A caption has at most 33 tokens.
MAX_NEW_TOKENS = 40
COURSE = Course(steps=2000, batch=64, learning_rate=3e-3, matrix_rate=0.02, weight_decay=0.02, warmup=50)
#: What a trained model must reach: number of ``measure`` → the least that it may be.
BARS = {"facts": 0.9}


@dataclass(frozen=True)
class GitSize:
    """Sizes of the part that writes."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    mlp_width: int = 384


@lru_cache(maxsize=1)
def git_tokenizer() -> PreTrainedTokenizerFast:
    """The English words of captions."""
    return word_tokenizer(texts_with_every_word(("en",)), starts=True)


def git_model(vision: CLIPVisionConfig, tokenizer: PreTrainedTokenizerFast, size: GitSize) -> GitForCausalLM:
    """The model with random weights, also in its vision tower."""
    from transformers import GenerationConfig, GitConfig, GitForCausalLM

    token: Callable[[str], Any] = tokenizer.convert_tokens_to_ids
    ends: dict[str, Any] = {"bos_token_id": token(START), "eos_token_id": token(END), "pad_token_id": token(PAD)}
    config = GitConfig(
        vision_config={
            name: getattr(vision, name)
            for name in (
                *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size"),
                *("patch_size", "hidden_act", "layer_norm_eps"),
            )
        },
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.mlp_width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=64,
        initializer_range=size.width**-0.5,
        **ends,
    )
    model = GitForCausalLM(config)
    model.generation_config = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, do_sample=False, **ends)
    return model


def train(
    out: Path,
    seed: int = TRAINING_SEED,
    steps: int | None = None,
    clip: Path | None = None,
    course: Course = COURSE,
    size: GitSize = GitSize(),
) -> dict[str, Any]:
    """Train a GIT model with the vision tower of a CLIP, which stays as it is but for its last norm.

    As ``captioner.train``, which also says what is returned, printed and raised.
    """
    import torch
    from transformers import GitProcessor

    torch.manual_seed(seed)
    course = replace(course, steps=steps or course.steps)
    tower, vision, sha256 = clip_tower(clip or clip_beside(out))
    tokenizer = git_tokenizer()
    model = git_model(tower.config, tokenizer, size)
    model.set_attn_implementation("eager")
    own = model.git.image_encoder.vision_model
    own.load_state_dict(tower.state_dict())
    own.requires_grad_(False)
    own.post_layernorm.requires_grad_(True)

    def losses(pixels: Tensor, ids: Tensor, mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"words": model(pixel_values=pixels, input_ids=ids, attention_mask=mask, labels=labels).loss}

    teach(model, [model.git.encoder], partial(caption_batch, vision.image_size, course.batch, seed), losses, course)
    save_captioner(model, GitProcessor(hugging_face_processor(vision), tokenizer), out)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"clip": sha256, "size": asdict(size), "course": asdict(course), "parameters": parameters}


def measure(folder: Path) -> dict[str, Any]:
    """The numbers of ``captioner_measure.measure_git_captioner``."""
    return measure_git_captioner(folder)


def caption_batch(side: int, batch: int, seed: int, step: int) -> list[Tensor]:
    """Pictures that no other step has, and of the caption of each the token ids, what is no padding, and the labels."""
    import torch

    tokenizer = git_tokenizer()
    first = FIRST_OF_GIT + step * batch
    numbers = range(first, first + batch)
    captions = [styled(training_scene(seed, number)) + END for number in numbers]
    said = tokenizer(captions, padding=True, padding_side="right", return_tensors="pt")
    ids, mask = said["input_ids"], said["attention_mask"]
    return [training_pictures(side, seed, numbers), ids, mask, torch.where(mask == 1, ids, IGNORED)]
