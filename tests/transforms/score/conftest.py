"""Small models with random weights, pictures in a spool, and rows of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pairmill.transforms.score.models import forget_models

WORDS = [
    "a",
    "the",
    "red",
    "green",
    "blue",
    "circle",
    "square",
    "bicycle",
    "dog",
    "cat",
    "of",
    "and",
    "on",
    "near",
    "with",
    "photo",
    "drawing",
    "tree",
    "house",
]

MakeClip = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_models_of_other_tests() -> Iterator[None]:
    yield
    forget_models()


def save_word_tokenizer(folder: Path) -> None:
    """A tokenizer of few words and of letters for all others, with its own begin, end and padding."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<start>", "<unk>"]
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,!")
    tokens = [*special, *letters, *(f"##{letter}" for letter in letters), *(w for w in WORDS if w != "a"), "<end>"]
    vocabulary = {word: number for number, word in enumerate(tokens)}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", vocabulary["<start>"]), ("<end>", vocabulary["<end>"])]
    inner.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(folder)


def clip_config(own_tokenizer: bool = True, **changes: Any) -> dict[str, Any]:
    """``open_clip_config.json`` of a CLIP of some 100,000 numbers."""
    text = {"context_length": 24, "vocab_size": 120, "width": 32, "heads": 2, "layers": 2}
    if own_tokenizer:
        text |= {"hf_tokenizer_name": "own", "tokenizer_kwargs": {"clean": "lower"}}
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
            "text_cfg": text,
        },
        "preprocess_cfg": {
            "mean": [0.48, 0.46, 0.41],
            "std": [0.27, 0.26, 0.28],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = config
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return config


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """A folder with a whole CLIP of random weights; ``changes`` of its configuration by path: ``a__b=value``."""

    def make(seed: int = 0, **changes: Any) -> Path:
        import open_clip
        import torch
        from safetensors.torch import save_file

        folder = tmp_path_factory.mktemp("clip")
        config = clip_config(**changes)
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        if config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
            save_word_tokenizer(folder)
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
        with torch.no_grad():  # open_clip's beginnings are so small that all captions are alike
            for name, numbers in model.named_parameters():
                if "embedding" in name:
                    numbers.mul_(20)
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_clip(make_clip: MakeClip) -> Path:
    return make_clip()


class Spool:
    """Stored images in memory, in a tar's manner; ``reads`` are the places that were asked for."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.reads: list[tuple[str, int, int]] = []

    @staticmethod
    def picture(seed: int, width: int = 60, height: int = 48, file_format: str = "JPEG") -> bytes:
        """The bytes of a picture of coloured patches."""
        patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC).save(file, file_format)
        return file.getvalue()

    @staticmethod
    def captions(count: int, seed: int = 0) -> list[str]:
        """Sentences of the words that the tokenizer knows."""
        chance = np.random.default_rng(seed)
        return [" ".join(chance.choice(WORDS, chance.integers(2, 18))) for _ in range(count)]

    def add(self, body: bytes) -> tuple[str, int, int]:
        self.data += b"\0" * 512
        offset = len(self.data)
        self.data += body
        return "s.tar", offset, len(body)

    def read(self, spool: str, offset: int, size: int) -> bytes:
        assert spool == "s.tar"
        self.reads.append((spool, offset, size))
        return bytes(self.data[offset : offset + size])

    def many(self, count: int) -> pl.DataFrame:
        """Rows of pictures of many sizes and formats, each with a caption."""
        formats = ("JPEG", "PNG", "WEBP")
        bodies = [self.picture(n, 40 + 3 * n % 50, 90 - 2 * n % 47, formats[n % 3]) for n in range(count)]
        return self.rows(bodies, self.captions(count))

    def rows(
        self, bodies: Sequence[bytes | None], captions: Sequence[str | None], **texts: Sequence[Any]
    ) -> pl.DataFrame:
        places = [(None, None, None) if body is None else self.add(body) for body in bodies]
        return pl.DataFrame(
            {
                "row_id": range(10, 10 + len(bodies)),
                "spool": [place[0] for place in places],
                "spool_offset": [place[1] for place in places],
                "stored_bytes": [place[2] for place in places],
                "caption": captions,
                **texts,
            },
            schema_overrides={"row_id": pl.UInt64, "spool": pl.String, "spool_offset": pl.Int64, "caption": pl.String},
        )


@pytest.fixture
def spool() -> Spool:
    return Spool()
