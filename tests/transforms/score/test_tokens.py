"""Tokens are those of the model's own tokenizer, and what is cut off is counted, however long the text."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.transforms.score import tokens
from pairmill.transforms.score.tokens import merge_byte_pairs, tokeniser

TEXTS = ["a red bicycle", "", "Ünïcode & <b>tags</b> 图片 😀!!", "word " * 200, "x" * 150, "don't stop 1234567"]


@pytest.fixture(scope="module")
def simple() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=20)


def test_openais_tokenizer_gives_its_own_ids(simple: Any) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    ids, cut = tokeniser(simple)(TEXTS)
    theirs = SimpleTokenizer(context_length=20)
    assert (ids == theirs(TEXTS).numpy()).all()
    assert cut.tolist() == [max(0, len(theirs.encode(text)) + 2 - 20) for text in TEXTS]
    assert cut[3] == 182


@given(word=st.text(st.sampled_from("ab"), min_size=1, max_size=40) | st.text("abcdehilnorst", min_size=1, max_size=60))
def test_merging_is_open_clips_merging(word: str) -> None:
    from open_clip.tokenizer import _tokenizer

    symbols = [*word[:-1], word[-1] + "</w>"]
    assert " ".join(merge_byte_pairs(symbols, _tokenizer.bpe_ranks)) == _tokenizer.bpe(word)


def test_a_caption_of_100_000_letters_is_cut_and_counted(simple: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(0)
    text = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=100_000))
    steps = []
    ranks = simple.bpe_ranks

    def merge(symbols: Any, _: Any) -> list[str]:
        steps.append(len(symbols))
        return merge_byte_pairs(symbols, ranks)

    monkeypatch.setattr(tokens, "merge_byte_pairs", merge)
    ids, cut = tokeniser(simple)([text])
    assert steps == [100_000]  # not by open_clip's loop, which takes minutes
    assert ids.shape == (1, 20)
    assert cut[0] > 30_000


def test_the_words_that_are_kept_do_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    monkeypatch.setattr(tokens, "_MOST_WORDS", 50)
    tokenizer = SimpleTokenizer()
    tokenise = tokeniser(tokenizer)
    texts = [f"word{number} zq{number}" for number in range(300)]
    ids, _ = tokenise(texts)
    assert len(tokenizer.cache) <= 60
    assert (ids == SimpleTokenizer()(texts).numpy()).all()


def test_a_tokenizer_of_transformers_gives_its_own_ids(tiny_clip: Path) -> None:
    import open_clip

    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_clip}")
    texts = ["red dog", "the " * 40, "red " * 22, "red " * 23, "e " * 50_000]
    ids, cut = tokeniser(tokenizer)(texts)
    assert (ids == tokenizer(texts).numpy()).all()
    assert cut.tolist() == [0, 18, 0, 1, 50_000 - 22]
    assert ids.dtype == np.int64


def test_an_unknown_way_of_tokenising_is_refused(tiny_clip: Path) -> None:
    import open_clip

    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_clip}")
    tokenizer.tokenizer_mode = "clips"
    with pytest.raises(ValueError, match="tokenizer mode 'clips'"):
        tokeniser(tokenizer)
