from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.pipeline.demo.grammar import LANGUAGES, caption
from pairmill.pipeline.demo.scene import scene_at
from pairmill.pipeline.demo.training.caption_tokenizer import IMAGE, SPECIAL_TOKENS, UNKNOWN
from pairmill.pipeline.demo.training.captioner import CHAT_TEMPLATE, captioner_tokenizer, chat
from pairmill.pipeline.demo.training.captioner_data import PROMPTS, STYLES, styled
from pairmill.pipeline.demo.training.git_captioner import git_tokenizer

pytest.importorskip("transformers")
TOKENIZER, GIT_TOKENIZER = captioner_tokenizer(), git_tokenizer()
NUMBERS = st.integers(0, 2**40)


@given(NUMBERS, st.sampled_from(sorted(LANGUAGES)), st.integers(0, 50))
@settings(max_examples=200)
def test_every_word_of_a_true_caption_is_known(number: int, language: str, variant: int) -> None:
    text = caption(scene_at(4, number), language, variant)
    ids = TOKENIZER(text).input_ids
    assert TOKENIZER.unk_token_id not in ids
    assert TOKENIZER.decode(ids).replace(" :", ":") == text


@given(NUMBERS, st.sampled_from(sorted(LANGUAGES)), st.sampled_from(sorted(STYLES)))
@settings(max_examples=200)
def test_what_a_captioner_is_taught_to_say_comes_back_word_for_word(number: int, language: str, style: str) -> None:
    text = styled(scene_at(4, number), style, language)
    assert TOKENIZER.decode(TOKENIZER(text).input_ids) == text
    if language == "en":
        ids = GIT_TOKENIZER(text).input_ids
        assert ids[0] == GIT_TOKENIZER.bos_token_id
        assert GIT_TOKENIZER.decode(ids, skip_special_tokens=True) == text


def test_prompts_have_no_unknown_word() -> None:
    for prompts in PROMPTS.values():
        for prompt in prompts:
            assert UNKNOWN not in TOKENIZER.tokenize(prompt), prompt


@given(st.one_of(st.text(max_size=60), st.sampled_from(SPECIAL_TOKENS).map(lambda token: f"what {token} is")))
@settings(max_examples=200)
def test_a_prompt_may_hold_any_text_and_adds_no_image(text: str) -> None:
    plain = TOKENIZER.apply_chat_template(
        chat(text), chat_template=CHAT_TEMPLATE, add_generation_prompt=True, tokenize=False
    )
    tokens = TOKENIZER.tokenize(plain)
    assert tokens[:2] == ["<|user|>", IMAGE]
    assert tokens[-1] == "<|assistant|>"
    assert not set(tokens[2:-1]) & set(SPECIAL_TOKENS) - {UNKNOWN}


def test_a_chat_of_strings_and_answers_is_read_too() -> None:
    messages = [
        {"role": "system", "content": "Describe the image."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "in"}, {"type": "image"}, {"type": "text", "text": "German"}],
        },
        {"role": "assistant", "content": "a red circle"},
    ]
    text = TOKENIZER.apply_chat_template(messages, chat_template=CHAT_TEMPLATE, tokenize=False)
    assert TOKENIZER.tokenize(text) == [
        *("<|system|>", "Describe", "the", "image", "."),
        *("<|user|>", "<|image|>", "in", "German"),
        *("<|assistant|>", "a", "red", "circle", "<|end|>"),
    ]
