"""A tokenizer of whole words: those that the grammar says in its four languages, and those of the prompts.

Any other word is ``<|unk|>``, so that a prompt may hold any text, such as a web page's alt text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

from pairmill.pipeline.demo.grammar import LANGUAGES
from pairmill.pipeline.demo.grammar.captions import worded
from pairmill.pipeline.demo.grammar.sentences import OPENINGS, SENTENCES
from pairmill.pipeline.demo.scene import (
    BACKGROUNDS,
    COLOURS,
    MAX_COUNT,
    SIZES,
    TEXTURES,
    THINGS,
    Background,
    Group,
    Scene,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, START, END, IMAGE = "<|pad|>", "<|unk|>", "<|start|>", "<|end|>", "<|image|>"
USER, ASSISTANT, SYSTEM = "<|user|>", "<|assistant|>", "<|system|>"
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END, IMAGE, USER, ASSISTANT, SYSTEM)
#: A word, with apostrophes and hyphens inside it, or one other character.
_PIECE = r"[^\W_]+(?:['’-][^\W_]+)*|[^\s]"


def word_tokenizer(texts: Iterable[str], starts: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of the words of ``texts``, in alphabetical order behind the special tokens.

    It decodes to words with one space between them, and none before a comma or a full stop. Padding is on the left,
    as generation wants it. Where it ``starts``, a text is given ``START`` in front.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")]
    )
    spaced = {part for text in texts for part in text.split()}
    words = sorted({word for part in spaced for word, _ in split.pre_tokenize_str(part)})
    vocabulary = {word: number for number, word in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    if starts:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A", special_tokens=[(START, vocabulary[START])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START if starts else None,
        eos_token=END,
        additional_special_tokens=[IMAGE, USER, ASSISTANT, SYSTEM],
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def texts_with_every_word(languages: Sequence[str] = tuple(LANGUAGES)) -> Iterator[str]:
    """Captions that together hold each word that the grammar can say in these languages."""
    for language in languages:
        for relation, sentences in SENTENCES.items():
            for sentence, opening, scene in product(sentences, OPENINGS[:2] + OPENINGS[5:6], _group_scenes(relation)):
                yield worded(scene, language, opening, sentence, (True, True), -1)
            for sentence, opening in product(sentences, OPENINGS):
                yield worded(_scene(relation), language, opening, sentence, (False, False), -1)
        for kind, colour, second, way in product(BACKGROUNDS, COLOURS, COLOURS, (0, 1)):
            scene = _scene("alone", background=Background(kind, colour, second))
            yield worded(scene, language, OPENINGS[0], SENTENCES["alone"][0], (False, False), way)


def _group_scenes(relation: str) -> list[Scene]:
    """Scenes with each thing in each colour, one and several of it; each thing in each size and texture; each count."""
    groups = [
        *(Group(thing, colour, "small", "solid", count) for thing, colour, count in product(THINGS, COLOURS, (1, 2))),
        *(
            Group(thing, "red", size, texture, count)
            for thing, size, texture, count in product(THINGS, SIZES, TEXTURES, (1, 2))
        ),
        *(Group("circle", "red", "small", "solid", count) for count in range(1, MAX_COUNT + 1)),
    ]
    return [_scene(relation, group) for group in groups]


_GROUP, _BACKGROUND = Group("circle", "red", "small", "solid", 1), Background("plain", "white", "black")


def _scene(relation: str, group: Group = _GROUP, background: Background = _BACKGROUND) -> Scene:
    groups = (group,) if relation == "alone" else (group, group)
    return Scene(256, 256, background, groups, relation, light=0, noise=0, quality=90, seed=0)
