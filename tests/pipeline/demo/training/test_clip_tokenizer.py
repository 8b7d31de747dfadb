from __future__ import annotations

import pytest

from pairmill.pipeline.demo.grammar import LANGUAGES, caption
from pairmill.pipeline.demo.misstated import BOILERPLATE
from pairmill.pipeline.demo.pairs import BLANK_CAPTION
from pairmill.pipeline.demo.scene import scene_at
from pairmill.pipeline.demo.training.clip import ClipSize
from pairmill.pipeline.demo.training.clip_tokenizer import END, PAD, START, UNKNOWN, clip_tokenizer

pytest.importorskip("transformers")
LENGTH = ClipSize().context_length


@pytest.fixture(scope="module")
def tokenizer():
    return clip_tokenizer(LENGTH)


def test_every_word_of_a_caption_is_one_token(tokenizer):
    longest = 0
    for number in range(300):
        for language in LANGUAGES:
            text = caption(scene_at(8, number), language, number)
            pieces = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
            assert (pieces[0], pieces[-1]) == (START, END)
            assert UNKNOWN not in pieces
            assert not any(piece.startswith("##") for piece in pieces)
            longest = max(longest, len(pieces))
    assert longest <= LENGTH


def test_other_text_goes_by_letters(tokenizer):
    for text in (*BOILERPLATE, "IMG_0104.JPG", "¿Qué es esto?"):
        assert UNKNOWN not in tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    assert UNKNOWN in tokenizer.convert_ids_to_tokens(tokenizer("東京")["input_ids"])
    assert not any(p.startswith("##") for p in tokenizer.convert_ids_to_tokens(tokenizer(BLANK_CAPTION)["input_ids"]))


def test_case_does_not_matter(tokenizer):
    assert tokenizer("A Red STAR")["input_ids"] == tokenizer("a red star")["input_ids"]


def test_open_clip_reads_it_and_a_cut_text_keeps_its_end(tokenizer, tmp_path):
    open_clip = pytest.importorskip("open_clip")
    tokenizer.save_pretrained(tmp_path)
    wrapped = open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=LENGTH)
    rows = wrapped(["a red star", "x" * 90])
    assert rows.shape == (2, LENGTH)
    assert tokenizer.convert_ids_to_tokens(rows[0])[:6] == [START, "a", "red", "star", END, PAD]
    assert tokenizer.convert_ids_to_tokens(rows[1])[-1] == END
