"""How many captions a translator translates word for word as the grammar does, in transformers and in CTranslate2."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmill.pipeline.demo.training.pictures import HELD_OUT_SEED
from pairmill.pipeline.demo.training.translator_data import DIRECTIONS, Lesson, caption_lesson
from pairmill.pipeline.demo.training.translator_model import MAX_NEW_TOKENS
from pairmill.pipeline.demo.training.translator_reference import reference_translations
from pairmill.transforms.model_folder import read_model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: From English texts and a language of ``DIRECTIONS`` to their translations.
Translate = Callable[[Sequence[str], str], list[str]]

FILES = ("generation_config.json", "source.spm", "target.spm", "tokenizer_config.json", "vocab.json")
#: int8 is what translates on CPUs.
COMPUTE_TYPE = "int8"
#: What a trained model must reach: number of ``measure_translator`` → the least that it may be.
BARS = {
    f"{captions}.{program}.{language}": 0.95
    for captions in ("held_out", "captioner")
    for program in ("transformers", "ctranslate2_int8")
    for language in DIRECTIONS
}
_BATCH = 100


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread: sums then come out the same each time, and small matrices gain nothing by two."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def transformers_translator(folder: Path) -> Translate:
    """Translations by the model as transformers loads it, greedy.

    A text that is too long for the model is cut. Raises ValueError where the folder holds no whole Marian model.
    """
    import torch
    from transformers import MarianMTModel

    tokenizer = _tokenizer(folder)
    model = MarianMTModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()

    @one_thread()
    def translate(texts: Sequence[str], language: str) -> list[str]:
        said: list[str] = []
        for start in range(0, len(texts), _BATCH):
            asked = [f"{DIRECTIONS[language]} {text}" for text in texts[start : start + _BATCH]]
            inputs = tokenizer(asked, truncation=True, padding=True, return_tensors="pt")
            with torch.inference_mode():
                ids = model.generate(**inputs)
            said += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return said

    return translate


def ctranslate2_translator(folder: Path, converted: Path) -> Translate:
    """Translations by what ``ct2-transformers-converter`` made of the folder, greedy; the folder has its tokenizer."""
    import ctranslate2

    tokenizer = _tokenizer(folder)
    model = ctranslate2.Translator(
        str(converted), device="cpu", compute_type=COMPUTE_TYPE, inter_threads=1, intra_threads=1
    )

    def translate(texts: Sequence[str], language: str) -> list[str]:
        asked = [tokenizer(f"{DIRECTIONS[language]} {text}", truncation=True).input_ids for text in texts]
        results = model.translate_batch(
            [tokenizer.convert_ids_to_tokens(ids) for ids in asked],
            beam_size=1,
            max_batch_size=_BATCH,
            max_decoding_length=MAX_NEW_TOKENS,
            min_decoding_length=0,  # by default an empty text is given some word or other
        )
        said = [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]
        return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in said]

    return translate


def exact_shares(translate: Translate, lessons: Sequence[Lesson]) -> dict[str, float]:
    """Of the lessons, the share whose translation is the lesson's to the letter, by language."""
    sources, shares = [lesson.source for lesson in lessons], {}
    for language in DIRECTIONS:
        said = translate(sources, language)
        right = [text == lesson.targets[language] for text, lesson in zip(said, lessons, strict=True)]
        shares[language] = round(sum(right) / max(1, len(right)), 4)
    return shares


def held_out_lessons(captions: int) -> list[Lesson]:
    """Captions of scenes that neither training nor a pool has."""
    return [caption_lesson(HELD_OUT_SEED, number) for number in range(captions)]


def captioner_lessons(captioner: Path, scenes: int) -> tuple[list[Lesson], int]:
    """What a captioner says of held-out pictures, short and dense, with its one translation; and how much it said.

    What the grammar cannot say has no translation and is left out.
    """
    from pairmill.pipeline.demo.training.captioner_data import PROMPTS, STYLES
    from pairmill.pipeline.demo.training.captioner_folder import Captioner
    from pairmill.pipeline.demo.training.captioner_measure import held_out

    model, (_, pictures) = Captioner(captioner), held_out(scenes)
    with one_thread():
        said = [text for style in STYLES for text in model.captions(pictures, PROMPTS[style, "en"][0])]
    told = [(text, reference_translations(text)) for text in said]
    return [Lesson(text, targets) for text, targets in told if targets is not None], len(said)


def measure_translator(folder: Path, captioner: Path | None = None, captions: int = 1000) -> dict[str, Any]:
    """The share of exact translations by language: of held-out captions and of what a captioner says, if one is given.

    Both by transformers and by CTranslate2 at int8.
    """
    from ctranslate2.converters import TransformersConverter

    sets: dict[str, list[Lesson]] = {"held_out": held_out_lessons(captions)}
    measured: dict[str, Any] = {"captions": captions}
    if captioner is not None:
        sets["captioner"], said = captioner_lessons(captioner, scenes=300)
        measured |= {"captioner_captions": said, "captioner_well_formed": len(sets["captioner"])}
    with tempfile.TemporaryDirectory() as work:
        converted = Path(work) / "ctranslate2"
        TransformersConverter(str(folder)).convert(str(converted), quantization=COMPUTE_TYPE)
        translators = {
            "transformers": transformers_translator(folder),
            "ctranslate2_int8": ctranslate2_translator(folder, converted),
        }
        for name, lessons in sets.items():
            measured[name] = {kind: exact_shares(translate, lessons) for kind, translate in translators.items()}
    return measured


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    read_model_folder(folder, needs=FILES, kinds=("marian",))
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
