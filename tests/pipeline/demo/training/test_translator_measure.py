from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pairmill.pipeline.demo import training
from pairmill.pipeline.demo.scene import scene_at
from pairmill.pipeline.demo.training.captioner_data import STYLES, styled
from pairmill.pipeline.demo.training.pictures import HELD_OUT_SEED
from pairmill.pipeline.demo.training.translator_data import DIRECTIONS, Lesson
from pairmill.pipeline.demo.training.translator_measure import (
    Translate,
    captioner_lessons,
    ctranslate2_translator,
    exact_shares,
    held_out_lessons,
    transformers_translator,
)
from pairmill.pipeline.demo.training.translator_model import MAX_NEW_TOKENS, MAX_SOURCE_TOKENS
from pairmill.transforms.model_folder import read_model_folder

TRAINED = Path(training.__file__).parents[1] / "trained" / "translator"
CAPTIONER = TRAINED.with_name("captioner")
BAR = 0.95
CAPTIONS = 200

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model as the converter's own command makes it."""
    out = tmp_path_factory.mktemp("converted") / "ctranslate2"
    command = [str(Path(sys.executable).parent / "ct2-transformers-converter"), "--model", str(TRAINED)]
    subprocess.run([*command, "--output_dir", str(out), "--quantization", "int8"], check=True, capture_output=True)
    return out


@pytest.fixture(scope="module", params=["transformers", "ctranslate2"])
def translate(request: pytest.FixtureRequest, converted: Path) -> Translate:
    if request.param == "transformers":
        return transformers_translator(TRAINED)
    return ctranslate2_translator(TRAINED, converted)


def test_held_out_captions_are_translated_exactly(translate):
    shares = exact_shares(translate, held_out_lessons(CAPTIONS))
    assert min(shares.values()) >= BAR, shares


@pytest.mark.parametrize("style", STYLES)
def test_captions_in_the_captioners_words_are_translated_exactly(translate, style):
    scenes = [scene_at(HELD_OUT_SEED, number) for number in range(CAPTIONS // 2)]
    lessons = [
        Lesson(styled(scene, style), {language: styled(scene, style, language) for language in DIRECTIONS})
        for scene in scenes
    ]
    shares = exact_shares(translate, lessons)
    assert min(shares.values()) >= BAR, shares


@pytest.mark.skipif(not CAPTIONER.is_dir(), reason="no trained captioner lies beside the translator")
def test_what_the_captioner_says_is_translated_exactly(translate):
    lessons, said = captioner_lessons(CAPTIONER, 25)
    assert len(lessons) >= BAR * said
    shares = exact_shares(translate, lessons)
    assert min(shares.values()) >= BAR, shares


def test_odd_texts_are_survived(translate):
    odd = [
        "",
        " \n\t",
        "a red circle " * 2000,
        "x" * 10_000,
        "Smörgåsbord 漢字 😀 \u202e\u200b\x00",
        "</s> <pad> <unk> >>fra<< ▁",
        ">>",
        "https://example.org/a?b=c IMG_0042.JPG",
    ]
    for language in DIRECTIONS:
        said = translate(odd, language)
        assert len(said) == len(odd)
        assert all(isinstance(text, str) and len(text) <= 20 * MAX_NEW_TOKENS for text in said)
        assert said[:2] == ["", ""]
        alone = [translate([text], language)[0] for text in odd[:3]]
        assert alone == said[:3]


def test_an_odd_text_harms_no_other_one(translate):
    lessons = held_out_lessons(5)
    texts = [lesson.source for lesson in lessons]
    assert translate([*texts, "word " * 5000], "de")[:5] == translate(texts, "de")


def test_longer_texts_than_the_model_takes_are_cut():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TRAINED, local_files_only=True)
    assert tokenizer.model_max_length == MAX_SOURCE_TOKENS
    ids = tokenizer(">>deu<< " + "a red circle " * 500, truncation=True).input_ids
    assert len(ids) == MAX_SOURCE_TOKENS
    assert ids[0] == tokenizer.convert_tokens_to_ids(">>deu<<")
    assert ids[-1] == tokenizer.eos_token_id


def test_no_caption_is_near_the_lengths_where_texts_are_cut():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TRAINED, local_files_only=True)
    lessons = held_out_lessons(2000)
    texts = [text for lesson in lessons for text in (lesson.source, *lesson.targets.values())]
    assert max(map(len, tokenizer(texts).input_ids)) < MAX_NEW_TOKENS / 2
    assert tokenizer.batch_decode(tokenizer(texts).input_ids, skip_special_tokens=True) == texts


def test_it_loads_and_generates_with_no_settings_of_ours():
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TRAINED, local_files_only=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(TRAINED, local_files_only=True)
    assert type(model).__name__ == "MarianMTModel"
    lesson = held_out_lessons(1)[0]
    ids = model.generate(**tokenizer(f">>fra<< {lesson.source}", return_tensors="pt"), num_beams=4)
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == lesson.targets["fr"]


def test_the_folder_is_small_and_is_what_was_recorded():
    record = json.loads((TRAINED / "training.json").read_text())
    assert (
        read_model_folder(TRAINED, kinds=("marian",), sha256=record["trained"]["sha256"]).weight_format == "safetensors"
    )
    assert sum(file.stat().st_size for file in TRAINED.iterdir()) < 4_000_000
    shares = [*record["measured"]["held_out"].values(), *record["measured"].get("captioner", {}).values()]
    assert min(share for by_language in shares for share in by_language.values()) >= BAR


def test_shares_are_counted_by_language():
    lessons = [Lesson("a", {"de": "x", "fr": "y", "es": "z"}), Lesson("b", {"de": "x", "fr": "x", "es": "x"})]
    answers = {"de": ["x", "x"], "fr": ["y", "y"], "es": ["", "X"]}
    assert exact_shares(lambda texts, language: answers[language], lessons) == {"de": 1.0, "fr": 0.5, "es": 0.0}
