"""The captioners that come with the project, from the files that are committed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from pairmill.pipeline.demo.training import captioner, git_captioner
from pairmill.pipeline.demo.training.__main__ import TRAINED
from pairmill.pipeline.demo.training.captioner_data import PROMPTS
from pairmill.pipeline.demo.training.captioner_folder import Captioner
from pairmill.pipeline.demo.training.captioner_measure import held_out, measure_captioner, measure_git_captioner, score
from pairmill.pipeline.demo.training.record import missed, read_record

CAPTIONER, GIT = TRAINED / "captioner", TRAINED / "git_captioner"
PROMPT = PROMPTS["short", "en"][0]
SCENES = 200


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small are slower on two threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def chat_model() -> Captioner:
    return Captioner(CAPTIONER, ("llava",))


def test_the_captioner_reaches_its_bar_for_every_prompt() -> None:
    measured = measure_captioner(CAPTIONER, SCENES)
    assert missed(measured, captioner.BARS) == []
    assert measured["misled"] >= 0.9
    for style, language in PROMPTS:
        numbers = measured["prompts"][style][language]
        assert numbers["facts"] >= 0.9
        assert numbers["exact"] >= 0.8


def test_the_git_model_reaches_its_bar() -> None:
    assert missed(measure_git_captioner(GIT, SCENES), git_captioner.BARS) == []


@pytest.mark.parametrize(("folder", "bars"), [(CAPTIONER, captioner.BARS), (GIT, git_captioner.BARS)])
def test_what_is_recorded_is_of_these_weights_and_reaches_the_bar(folder: Path, bars: dict[str, float]) -> None:
    record = read_record(folder)
    assert missed(record["measured"], bars) == []
    assert record["measured"]["scenes"] >= 1000
    weights = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}
    assert record["weights_sha256"] == weights
    assert record["trained"]["parameters"] < 5_000_000
    names = {path.name for path in folder.iterdir()}
    assert names <= {
        *("config.json", "generation_config.json", "model.safetensors", "processor_config.json", "training.json"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) < 7e6


def test_a_batch_says_what_each_picture_alone_does_whatever_the_prompts(chat_model: Captioner) -> None:
    _, pictures = held_out(8)
    prompts = [PROMPT, 'The alt text of this image is "IMG_0001.JPG". Describe the image in German.'] * 4
    alone = [chat_model.captions([picture], prompt)[0] for picture, prompt in zip(pictures, prompts, strict=True)]
    assert chat_model.captions(pictures, prompts) == alone


@pytest.mark.parametrize(
    "alt_text",
    ["", "日本語のテキスト", "<|image|> <|end|> <image>", "buy now! " * 3, "a red circle above a blue house"],
)
def test_any_alt_text_may_be_quoted(chat_model: Captioner, alt_text: str) -> None:
    scenes, pictures = held_out(20, start=300)
    said = chat_model.captions(pictures, f"Alt text: {alt_text} {PROMPT}")
    assert score(said, scenes)["facts"] >= 0.8


def test_an_alt_text_of_any_length_gives_a_caption(chat_model: Captioner) -> None:
    """Such prompts were not taught, so that the facts may suffer."""
    _, pictures = held_out(4, start=300)
    assert all(chat_model.captions(pictures, f"Alt text: {'buy now! ' * 40} {PROMPT}"))


def test_pictures_of_any_kind_are_taken(chat_model: Captioner) -> None:
    pictures = [Image.new("L", (1, 1)), Image.new("RGBA", (500, 20), (9, 9, 9, 9)), Image.new("P", (64, 64))]
    git = Captioner(GIT, ("git",))
    assert all(isinstance(said, str) for said in [*chat_model.captions(pictures, PROMPT), *git.captions(pictures)])
