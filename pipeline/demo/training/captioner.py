"""A small captioner of the LLaVA kind: the small CLIP's vision tower, a projection, and a small Llama.

It has a chat template, so that any program that speaks to a chat model of images can speak to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmill.pipeline.demo.chance import Chance
from pairmill.pipeline.demo.training.caption_tokenizer import END, IMAGE, PAD, texts_with_every_word, word_tokenizer
from pairmill.pipeline.demo.training.captioner_data import lesson, prompt_texts
from pairmill.pipeline.demo.training.captioner_folder import save_captioner
from pairmill.pipeline.demo.training.captioner_measure import measure_captioner
from pairmill.pipeline.demo.training.captioner_vision import (
    FIRST_OF_CAPTIONER,
    clip_beside,
    clip_tower,
    training_pictures,
)
from pairmill.pipeline.demo.training.course import Course, teach
from pairmill.pipeline.demo.training.pictures import TRAINING_SEED, training_scene
from pairmill.pipeline.demo.training.vision import hugging_face_processor

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

#: Images first, then words; what looks like a special token is none, so that a prompt may hold any text.
CHAT_TEMPLATE = """\
{%- macro plain(text) -%}{{ text | replace('<|', '< |') }}{%- endmacro -%}
{%- for message in messages -%}
<|{{ message['role'] }}|>
{%- if message['content'] is string -%}{{ plain(message['content']) }}
{%- else -%}
{%- for part in message['content'] if part['type'] != 'text' -%}<|image|>{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' %} {{ plain(part['text']) }}{%- endfor -%}
{%- endif -%}
{%- if message['role'] == 'assistant' -%}<|end|>{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""
#: A caption has at most 33 tokens.
MAX_NEW_TOKENS = 48
COURSE = Course(steps=3000, batch=64, learning_rate=3e-3, matrix_rate=0.02, weight_decay=0.02, warmup=50)
#: What a trained model must reach: number of ``measure`` → the least that it may be.
BARS = {"facts": 0.95}
#: Label of a token that is not learnt.
IGNORED = -100
#: Stream of chance that chooses the prompts of lessons.
_LESSONS = 17
#: Of so many batches one has prompts that quote an alt text: they are long, and a batch is as long as its longest.
_QUOTING_ONE_IN = 6


@dataclass(frozen=True)
class CaptionerSize:
    """Sizes of the language model."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    mlp_width: int = 384


@lru_cache(maxsize=1)
def captioner_tokenizer() -> PreTrainedTokenizerFast:
    """The words that the captioner reads and says."""
    return word_tokenizer([*texts_with_every_word(), *prompt_texts()])


def captioner_model(
    vision: CLIPVisionConfig, image_tokens: int, tokenizer: PreTrainedTokenizerFast, size: CaptionerSize
) -> LlavaForConditionalGeneration:
    """The model with random weights, also in its vision tower, whose last layer and all tokens it reads."""
    from transformers import GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    token: Callable[[str], Any] = tokenizer.convert_tokens_to_ids
    ends: dict[str, Any] = {"bos_token_id": None, "eos_token_id": token(END), "pad_token_id": token(PAD)}
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.mlp_width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=1024,
        initializer_range=size.width**-0.5,
        tie_word_embeddings=True,
        **ends,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=llama,
        image_token_index=token(IMAGE),
        image_seq_length=image_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
        **ends,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, do_sample=False, **ends)
    return model


def captioner_processor(
    images: CLIPImageProcessor, patch_size: int, tokenizer: PreTrainedTokenizerFast
) -> LlavaProcessor:
    """What makes a chat and its images into tokens and pixels."""
    from transformers import LlavaProcessor

    images.crop_size = images.size  # nothing is cropped, but this is where the number of image tokens is read from
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )


def chat(prompt: str) -> list[dict[str, Any]]:
    """One image and a prompt as the messages of a chat."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]


def train(
    out: Path,
    seed: int = TRAINING_SEED,
    steps: int | None = None,
    clip: Path | None = None,
    course: Course = COURSE,
    size: CaptionerSize = CaptionerSize(),
) -> dict[str, Any]:
    """Train a captioner with the vision tower of a CLIP, which stays as it is, and write its folder.

    The CLIP is the one in the folder beside ``out``, or else that of the project; ``steps`` are those of the course
    where they are not given. Returns what it was: the CLIP's sha256, sizes, course, number of parameters. Prints the
    loss every 100 steps. Raises ValueError, one line, where the CLIP is not whole.
    """
    import torch

    torch.manual_seed(seed)
    course = replace(course, steps=steps or course.steps)
    tower, vision, sha256 = clip_tower(clip or clip_beside(out))
    tokenizer = captioner_tokenizer()
    image_tokens = 1 + vision.grid**2
    model = captioner_model(tower.config, image_tokens, tokenizer, size)
    # The gradients of fused attention take longer than all else, in bfloat16 on a CPU.
    model.set_attn_implementation("eager")
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)

    def losses(pixels: Tensor, ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"words": model(pixel_values=pixels, input_ids=ids, labels=labels).loss}

    make = partial(lesson_batch, vision.image_size, image_tokens, course.batch, seed)
    teach(model, [model.model.language_model.layers], make, losses, course)
    save_captioner(model, captioner_processor(hugging_face_processor(vision), vision.patch_size, tokenizer), out)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"clip": sha256, "size": asdict(size), "course": asdict(course), "parameters": parameters}


def measure(folder: Path) -> dict[str, Any]:
    """The numbers of ``captioner_measure.measure_captioner``."""
    return measure_captioner(folder)


def lesson_batch(side: int, image_tokens: int, batch: int, seed: int, step: int) -> list[Tensor]:
    """Pictures that no other step has, and a chat about each: pixels, token ids and labels (batch, tokens).

    Padded on the right, since a causal model never looks there.
    """
    import torch

    tokenizer, chance = captioner_tokenizer(), Chance(seed, _LESSONS, step)
    first = FIRST_OF_CAPTIONER + step * batch
    numbers = range(first, first + batch)
    lessons = [lesson(training_scene(seed, number), chance, step % _QUOTING_ONE_IN == 0) for number in numbers]
    rows = [(_chat_ids(prompt, image_tokens), _answer_ids(answer)) for prompt, answer in lessons]
    longest = max(len(asked) + len(said) for asked, said in rows)
    ids = torch.full((batch, longest), tokenizer.pad_token_id)
    labels = torch.full((batch, longest), IGNORED)
    for row, (asked, said) in enumerate(rows):
        ids[row, : len(asked) + len(said)] = torch.tensor(asked + said)
        labels[row, len(asked) : len(asked) + len(said)] = torch.tensor(said)
    return [training_pictures(side, seed, numbers), ids, labels]


@lru_cache(maxsize=1024)
def _chat_ids(prompt: str, image_tokens: int) -> list[int]:
    """What the processor makes of a chat of one image and this prompt."""
    tokenizer = captioner_tokenizer()
    text: Any = tokenizer.apply_chat_template(
        chat(prompt), chat_template=CHAT_TEMPLATE, add_generation_prompt=True, tokenize=False
    )
    return list(tokenizer(text.replace(IMAGE, IMAGE * image_tokens))["input_ids"])


def _answer_ids(answer: str) -> list[int]:
    return list(captioner_tokenizer()(answer + END)["input_ids"])
