from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from open_clip import CLIP
from safetensors.torch import load_file

from pairmill.pipeline.demo.training import captioner, clip
from pairmill.pipeline.demo.training.captioner import CaptionerSize
from pairmill.pipeline.demo.training.captioner_data import PROMPTS, styled
from pairmill.pipeline.demo.training.captioner_folder import Captioner
from pairmill.pipeline.demo.training.captioner_measure import held_out
from pairmill.pipeline.demo.training.captioner_vision import FIRST_OF_CAPTIONER
from pairmill.pipeline.demo.training.course import Course
from pairmill.pipeline.demo.training.pictures import training_scene
from pairmill.pipeline.demo.training.vision import TowerSize

SMALL = CaptionerSize(width=32, layers=2, heads=2, mlp_width=64)
SIDE = 40


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small are slower on two threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP that knows nothing."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    config = clip.ClipSize(TowerSize(SIDE, 10, 32, 1, 2), 16, 16, 32, 1, 2).config(100)
    clip.save(CLIP(**config["model_cfg"]), config, folder)
    return folder


def test_a_captioner_learns_to_speak_and_is_read_from_its_folder(
    clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course = Course(steps=100, batch=8, learning_rate=1e-2, warmup=20)
    told = captioner.train(tmp_path, 1, None, clip_folder, course, SMALL)
    losses = [float(line.split("words ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 1
    assert losses[0] < 5
    assert json.loads(json.dumps(told))["course"]["steps"] == 100

    loaded = Captioner(tmp_path, ("llava",))
    assert loaded.model.dtype == torch.float32
    assert told["parameters"] == sum(parameter.numel() for parameter in loaded.model.parameters())
    _, pictures = held_out(3)
    for said in loaded.captions(pictures, PROMPTS["short", "en"][0]):
        assert said.startswith("a picture of ")

    ours = load_file(tmp_path / "model.safetensors")
    theirs = load_file(clip_folder / clip.WEIGHTS_FILE)
    assert {value.dtype for value in ours.values()} == {torch.float16}
    assert torch.equal(ours["vision_tower.post_layernorm.weight"], theirs["visual.ln_post.weight"])
    assert torch.equal(ours["vision_tower.embeddings.patch_embedding.weight"], theirs["visual.conv1.weight"])


def test_lessons_depend_on_seed_and_step_alone() -> None:
    one, again = (captioner.lesson_batch(SIDE, 17, 4, 1, 3) for _ in range(2))
    assert all(torch.equal(each, other) for each, other in zip(one, again, strict=True))
    others = (captioner.lesson_batch(SIDE, 17, 4, seed, step) for seed, step in ((2, 3), (1, 4)))
    assert not any(torch.equal(one[0], other[0]) for other in others)


@pytest.mark.parametrize("step", [0, 1])
def test_a_lesson_is_what_the_processor_makes_of_a_chat_and_only_the_answer_is_learnt(step: int) -> None:
    tokenizer = captioner.captioner_tokenizer()
    pixels, ids, labels = captioner.lesson_batch(SIDE, 17, 8, 1, step)
    assert pixels.shape == (8, 3, SIDE, SIDE)
    first = FIRST_OF_CAPTIONER + 8 * step
    quoting = 0
    for number, row, label in zip(range(first, first + 8), ids, labels, strict=True):
        learnt = label != captioner.IGNORED
        assert torch.equal(row[learnt], label[learnt])
        *words, end = row[learnt].tolist()
        assert end == tokenizer.eos_token_id
        answers = [styled(training_scene(1, number), *kind) for kind in PROMPTS]
        assert tokenizer.decode(words) in answers
        asked = tokenizer.convert_ids_to_tokens(row[: learnt.int().argmax()].tolist())
        assert asked[:18] == ["<|user|>", *["<|image|>"] * 17]
        assert asked[-1] == "<|assistant|>"
        quoting += len(asked) > 19 + max(len(tokenizer.tokenize(p)) for prompts in PROMPTS.values() for p in prompts)
    assert (quoting > 0) == (step == 0)


def test_a_folder_of_another_kind_is_no_captioner_and_one_without_a_tower_makes_none(
    clip_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"^model folder {clip_folder}: has no config.json"):
        Captioner(clip_folder, ("llava",))
    with pytest.raises(ValueError, match=rf"^model folder {tmp_path}: has no {clip.CONFIG_FILE}"):
        captioner.train(tmp_path / "out", 1, clip=tmp_path)
    assert not (tmp_path / "out").exists()
