"""The tokenizer of the small CLIP: each word of the grammar is one token, any other text goes by its letters."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from pairmill.pipeline.demo.pairs import BLANK_CAPTION
from pairmill.pipeline.demo.training.caption_tokenizer import texts_with_every_word

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Padding has number 0, as open_clip expects it.
PAD, UNKNOWN, START, END = "<|pad|>", "<|unk|>", "<|start|>", "<|end|>"
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END)
END_ID = SPECIAL_TOKENS.index(END)
_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation + "äöüßàâçèéêëîïôùûœáíóúñ¿¡«»"
#: A word, with apostrophes and hyphens inside it, or one other character.
_PIECE = r"[^\W_]+(?:['’-][^\W_]+)*|[^\s]"


def clip_tokenizer(context_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer; its files are what ``open_clip.get_tokenizer`` reads in a model's folder.

    Texts are taken in lower case, and cut after so many tokens, start and end among them.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from tokenizers.decoders import WordPiece
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")]
    )
    spaced = {part for text in (*texts_with_every_word(), BLANK_CAPTION) for part in text.split()}
    words = {word for part in spaced for word, _ in split.pre_tokenize_str(normalizer.normalize_str(part))}
    pieces = [*SPECIAL_TOKENS, *_CHARACTERS, *(f"##{character}" for character in _CHARACTERS)]
    pieces += sorted(words - set(_CHARACTERS))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, split, WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        padding_side="right",
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )
