"""A small translator of the Marian kind, and its tokenizer: one language in, the others by a direction token."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pairmill.pipeline.demo.training.translator_data import DIRECTIONS

if TYPE_CHECKING:
    from transformers import MarianMTModel, MarianTokenizer

#: Tokens that a source text may have, its direction and end among them; longer ones are to be cut.
MAX_SOURCE_TOKENS = 256
#: A caption has at most 42 tokens; whatever the model is given, it stops here.
MAX_NEW_TOKENS = 96
#: Name of the one matrix that is the embeddings of both sides and the output's.
EMBEDDINGS = "model.shared.weight"
_PIECES = 900  # nearly all words of the grammar are one piece, and each of its characters is
_END, _UNKNOWN, _PAD = "</s>", "<unk>", "<pad>"


@dataclass(frozen=True)
class TranslatorSize:
    """Sizes of the model; encoder and decoder have as many layers each."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    mlp_width: int = 512


def write_tokenizer(folder: Path, texts: Iterable[str]) -> MarianTokenizer:
    """A tokenizer of SentencePiece's byte pairs, learnt from the texts; the same pieces on both sides.

    Numbered as OPUS-MT has it: the end first, padding last. Its files are written to the folder.
    """
    import sentencepiece
    from transformers import MarianTokenizer

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=_PIECES,
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    learnt = [pieces.id_to_piece(number) for number in range(pieces.vocab_size()) if not pieces.is_unknown(number)]
    vocabulary = [_END, _UNKNOWN, *learnt, *DIRECTIONS.values(), _PAD]
    source, target, numbers = (folder / name for name in ("source.spm", "target.spm", "vocab.json"))
    for file in (source, target):
        file.write_bytes(model.getvalue())
    numbers.write_text(json.dumps({piece: number for number, piece in enumerate(vocabulary)}))
    tokenizer = MarianTokenizer(
        source_spm=str(source), target_spm=str(target), vocab=str(numbers), model_max_length=MAX_SOURCE_TOKENS
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def translator_model(tokenizer: MarianTokenizer, size: TranslatorSize) -> MarianMTModel:
    """The model with random weights. The embedding of padding is zero, and CTranslate2 relies on that."""
    import torch
    from transformers import GenerationConfig, MarianConfig, MarianMTModel

    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    start = {"decoder_start_token_id": tokenizer.pad_token_id, "bos_token_id": None, "forced_eos_token_id": None}
    config = MarianConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_SOURCE_TOKENS,
        d_model=size.width,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.mlp_width,
        decoder_ffn_dim=size.mlp_width,
        activation_function="relu",
        dropout=0.0,
        scale_embedding=True,
        **ends,
        **start,
    )
    model = MarianMTModel(config)
    with torch.no_grad():
        model.get_parameter(EMBEDDINGS)[tokenizer.pad_token_id].zero_()
    model.generation_config = GenerationConfig(
        max_new_tokens=MAX_NEW_TOKENS,
        num_beams=1,
        do_sample=False,
        bad_words_ids=[[tokenizer.pad_token_id]],
        **ends,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return model
