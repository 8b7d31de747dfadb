"""The tokens of a caption, as the model's own tokenizer gives them, and how many of them were cut off."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

#: open_clip's loop takes the square of a word's length; text without spaces is one word. Longer words are merged here.
_LONG_WORD = 200
#: open_clip keeps every word that it ever saw.
_MOST_WORDS = 200_000

Tokens = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
Tokenise = Callable[[Sequence[str]], Tokens]


def tokeniser(tokenizer: Any) -> Tokenise:
    """A function from texts to token ids of shape (texts, context length), and how many of each were cut off.

    ``tokenizer`` is one of open_clip's, whose ids it gives. Its time is about linear in a text's length. The function
    may be called by several threads.
    """
    if hasattr(tokenizer, "bpe_ranks"):
        return _SimpleTokens(tokenizer)
    if getattr(tokenizer, "tokenizer_mode", ""):
        raise ValueError(f"the tokenizer mode {tokenizer.tokenizer_mode!r} of this model is not supported")
    return _HuggingFaceTokens(tokenizer)


class _SimpleTokens:
    """OpenAI's byte-pair encoding (``open_clip.SimpleTokenizer``)."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._kept = dict(tokenizer.cache)  # the special tokens
        self._short_word = tokenizer.bpe
        tokenizer.bpe = self._merged

    def __call__(self, texts: Sequence[str]) -> Tokens:
        length = self._tokenizer.context_length
        ids = np.zeros((len(texts), length), np.int64)
        cut = np.zeros(len(texts), np.int64)
        for row, text in enumerate(texts):
            tokens = [self._tokenizer.sot_token_id, *self._tokenizer.encode(text), self._tokenizer.eot_token_id]
            if len(tokens) > length:
                cut[row] = len(tokens) - length
                tokens = [*tokens[: length - 1], tokens[-1]]
            ids[row, : len(tokens)] = tokens
        return ids, cut

    def _merged(self, word: str) -> str:
        if len(word) > _LONG_WORD:
            return " ".join(merge_byte_pairs([*word[:-1], word[-1] + "</w>"], self._tokenizer.bpe_ranks))
        if len(self._tokenizer.cache) > _MOST_WORDS:
            self._tokenizer.cache = dict(self._kept)
        told: str = self._short_word(word)
        return told


class _HuggingFaceTokens:
    """A tokenizer of transformers in open_clip's wrapping (``HFTokenizer``, ``SigLipTokenizer``)."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # padding and truncation are set on the one tokenizer before each call

    def __call__(self, texts: Sequence[str]) -> Tokens:
        with self._lock:
            ids = self._tokenizer(list(texts)).numpy().astype(np.int64)
            cut = np.zeros(len(texts), np.int64)
            inner = self._tokenizer.tokenizer
            padded = ids[:, -1] == (-1 if inner.pad_token_id is None else inner.pad_token_id)
            for row in np.flatnonzero(~padded).tolist():  # only what fills its row may have been cut
                whole = inner(self._cleaned(texts[row]), truncation=False, padding=False, verbose=False)
                cut[row] = max(0, len(whole.input_ids) - ids.shape[1])
        return ids, cut

    def _cleaned(self, text: str) -> str:
        if hasattr(self._tokenizer, "clean_fn"):
            told: str = self._tokenizer.clean_fn(text)
            return told
        from open_clip.tokenizer import basic_clean, canonicalize_text

        told = canonicalize_text(basic_clean(text))
        return told


def merge_byte_pairs(symbols: Sequence[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding of one word, in n log n: time and again the pair of lowest rank, wherever it stands.

    All places of a pair are merged before the next is chosen, from left to right, as ``SimpleTokenizer.bpe`` does.
    """
    parts = list(symbols)
    after = [*range(1, len(parts)), -1]
    before = list(range(-1, len(parts) - 1))
    places: dict[tuple[str, str], list[int]] = {}
    queue: list[tuple[int, tuple[str, str]]] = []

    def note(place: int) -> None:
        pair = (parts[place], parts[after[place]])
        if pair in ranks:
            if pair not in places:
                places[pair] = []
                heapq.heappush(queue, (ranks[pair], pair))
            places[pair].append(place)

    for place in range(len(parts) - 1):
        note(place)
    while queue:
        _, pair = heapq.heappop(queue)
        for place in sorted(places.pop(pair)):
            following = after[place]
            if parts[place] != pair[0] or following < 0 or parts[following] != pair[1]:
                continue  # one of the two went into another pair
            parts[place], parts[following] = pair[0] + pair[1], ""
            after[place] = after[following]
            if after[place] >= 0:
                before[after[place]] = place
                note(place)
            if before[place] >= 0:
                note(before[place])
    return [part for part in parts if part]
