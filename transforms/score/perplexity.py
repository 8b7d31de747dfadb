"""Perplexity of a text under a causal language model: low for plain language, high for keyword lists and garbage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from pairmill.transforms.model_folder import read_model_folder
from pairmill.transforms.score.hub_folder import local_model_folder
from pairmill.transforms.score.promised_columns import check_texts, measures_of_texts
from pairmill.transforms.score.scorer import CAPTION, LoadedTextScorer, Measures, Scorer

#: Tokens that one pass takes, padding included: the logits of a vocabulary of 50,000 are then 100 MB of float32.
_TOKENS_A_PASS = 512
#: Texts are padded to this many tokens times a power of two: the shapes are few, and follow from a text's length alone.
_SHORTEST = 16


@dataclass(frozen=True, kw_only=True)
class PerplexityScorer(Scorer):
    """``<name>_perplexity``: e to the mean negative log likelihood of a text's tokens; ``<name>_tokens_cut``.

    For a text other than the caption its name follows: ``<name>_perplexity_<text>``.

    model: a folder, or an id on the Hugging Face hub, of any causal language model that transformers loads
        (``AutoModelForCausalLM``) from safetensors with its tokenizer.
    sha256: of the model's folder (``transforms/model_folder.py``); checked where given.
    texts: the text columns that are read.
    max_tokens: a longer text is cut here, or at the length of the model where that is less; what is cut is counted.

    The first token is judged after the model's beginning-of-text token (its end-of-text token where it has no other),
    as the ``perplexity`` metric of Hugging Face's evaluate does by ``add_start_token``. A model with neither judges a
    text from its second token, and a text of one token is ``not_finite``.
    """

    kind: ClassVar[str] = "perplexity"
    source: ClassVar[str] = "perplexity as in huggingface/evaluate; a filter of captions in POINTS, arXiv:2409.04828"
    reads: ClassVar[Literal["image", "text"]] = "text"

    model: str
    sha256: str | None = None
    texts: tuple[str, ...] = (CAPTION,)
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("perplexity: model is empty")
        check_texts(self.kind, self.texts)
        if not 2 <= self.max_tokens <= 65_535:
            raise ValueError(f"perplexity: max_tokens is {self.max_tokens}; give 2 to 65535")

    def columns(self, name: str) -> dict[str, pl.DataType]:
        """``<name>_perplexity``, ``<name>_tokens_cut`` and ``<name>_outcome``, and the same for each other text."""
        return measures_of_texts(name, {"perplexity": pl.Float32(), "tokens_cut": pl.UInt16()}, self.texts)

    def identity(self) -> dict[str, Any]:
        """The digest of the model's folder, the text columns and the length."""
        folder = read_model_folder(local_model_folder(self.model), needs=["config.json"], sha256=self.sha256)
        return {
            "sha256": folder.sha256,
            "scale": "perplexity",
            "texts": list(self.texts),
            "max_tokens": self.max_tokens,
        }

    def text_columns(self) -> tuple[str, ...]:
        """Those of ``texts``."""
        return self.texts

    def load(self, device: str, precision: str) -> LoadedTextScorer:
        """The language model on the device."""
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils.logging import disable_progress_bar
        except ModuleNotFoundError as error:
            raise ValueError(f"perplexity: needs the package {error.name}: pip install 'pairmill[models]'") from None
        folder = read_model_folder(local_model_folder(self.model), needs=["config.json"], sha256=self.sha256).path
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            line = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"perplexity: {self.model} is no causal language model with its tokenizer: {line}"
            ) from None
        model, told = loaded
        if told["missing_keys"]:
            lacking = sorted(told["missing_keys"])[0]
            raise ValueError(f"perplexity: {self.model} lacks weights of the model that it names: {lacking}")
        return _LanguageModel(model.to(device).eval(), tokenizer, device, self.max_tokens)


class _LanguageModel(LoadedTextScorer):
    """A causal language model and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, device: str, max_tokens: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        self.start = [] if start is None else [start]
        config = model.config.get_text_config()
        self.max_length = min(max_tokens, getattr(config, "max_position_embeddings", None) or max_tokens)

    def score(self, texts: Sequence[str]) -> Measures:
        """``perplexity`` (float32, NaN where a text has no token to judge) and ``tokens_cut`` (uint16)."""
        tokens = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        kept = [(self.start + list(ids))[: self.max_length] for ids in tokens]
        cut = [len(self.start) + len(ids) - len(some) for ids, some in zip(tokens, kept, strict=True)]
        perplexity = np.full(len(texts), np.nan, np.float32)
        by_length: dict[int, list[int]] = {}
        for place, ids in enumerate(kept):
            if len(ids) > 1:
                by_length.setdefault(self._padded_length(len(ids)), []).append(place)
        for length, places in by_length.items():
            rows = max(1, _TOKENS_A_PASS // length)
            for first in range(0, len(places), rows):
                some = places[first : first + rows]
                perplexity[some] = self._perplexity([kept[place] for place in some], rows, length)
        return {"perplexity": perplexity, "tokens_cut": np.minimum(cut, 65_535).astype(np.uint16)}

    def _padded_length(self, tokens: int) -> int:
        return min(self.max_length, _SHORTEST << max(0, math.ceil(math.log2(tokens / _SHORTEST))))

    def _perplexity(self, tokens: list[list[int]], rows: int, length: int) -> np.ndarray:
        """The perplexity of each of at most ``rows`` texts, in one pass of the shape (rows, length)."""
        import torch

        ids = torch.zeros((rows, length), dtype=torch.long)
        mask = torch.zeros((rows, length), dtype=torch.long)
        mask[:, 0] = 1  # a row that is padding alone attends to something: no NaN
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        with torch.inference_mode():
            ids, mask = ids.to(self.device), mask.to(self.device)
            logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            judged = mask[:, 1:].double()
            mean = (losses.double() * judged).sum(1)[: len(tokens)] / judged.sum(1)[: len(tokens)]
        return np.exp(mean.cpu().numpy()).astype(np.float32)
