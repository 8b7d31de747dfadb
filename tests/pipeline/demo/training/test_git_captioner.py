from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from open_clip import CLIP
from safetensors.torch import load_file

from pairmill.pipeline.demo.training import clip, git_captioner
from pairmill.pipeline.demo.training.captioner import IGNORED
from pairmill.pipeline.demo.training.captioner_data import styled
from pairmill.pipeline.demo.training.captioner_folder import Captioner
from pairmill.pipeline.demo.training.captioner_measure import held_out
from pairmill.pipeline.demo.training.captioner_vision import FIRST_OF_GIT
from pairmill.pipeline.demo.training.course import Course
from pairmill.pipeline.demo.training.git_captioner import GitSize
from pairmill.pipeline.demo.training.pictures import training_scene
from pairmill.pipeline.demo.training.vision import TowerSize

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


def test_a_git_model_learns_to_speak_and_is_read_from_its_folder(clip_folder: Path, tmp_path: Path) -> None:
    course = Course(steps=100, batch=8, learning_rate=1e-2, warmup=20)
    size = GitSize(width=32, layers=2, heads=2, mlp_width=64)
    told = git_captioner.train(tmp_path, 1, None, clip_folder, course, size)
    loaded = Captioner(tmp_path, ("git",))
    assert loaded.model.dtype == torch.float32
    assert told["parameters"] == sum(parameter.numel() for parameter in loaded.model.parameters())
    assert getattr(loaded.processor, "chat_template", None) is None
    _, pictures = held_out(3)
    for said in loaded.captions(pictures):
        assert said.startswith("a picture of ")

    ours = load_file(tmp_path / "model.safetensors")
    theirs = load_file(clip_folder / clip.WEIGHTS_FILE)
    tower = "git.image_encoder.vision_model"
    assert torch.equal(ours[f"{tower}.embeddings.patch_embedding.weight"], theirs["visual.conv1.weight"])
    assert not torch.equal(ours[f"{tower}.post_layernorm.weight"], theirs["visual.ln_post.weight"])


def test_a_batch_holds_each_caption_behind_its_start_and_before_its_end() -> None:
    tokenizer = git_captioner.git_tokenizer()
    pixels, ids, mask, labels = git_captioner.caption_batch(SIDE, 4, 1, 2)
    assert pixels.shape == (4, 3, SIDE, SIDE)
    for number, row, kept, label in zip(range(8, 12), ids, mask.bool(), labels, strict=True):
        start, *words, end = row[kept].tolist()
        assert (start, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert tokenizer.decode(words) == styled(training_scene(1, FIRST_OF_GIT + number))
        assert torch.equal(label, torch.where(kept, row, IGNORED))
