from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairmill.pipeline.demo.training.translator import TranslatorCourse, train
from pairmill.pipeline.demo.training.translator_measure import FILES, transformers_translator
from pairmill.pipeline.demo.training.translator_model import TranslatorSize
from pairmill.transforms.model_folder import read_model_folder

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")


def train_a_little(out: Path, seed: int) -> str:
    size = TranslatorSize(width=16, layers=1, heads=2, mlp_width=16)
    info = train(out, seed, size, TranslatorCourse(steps=3, batch=4, warmup=2))
    assert info["course"]["steps"] == 3
    return read_model_folder(out, needs=FILES, kinds=("MarianMTModel",)).sha256


def test_training_repeats_itself(tmp_path):
    digests = [train_a_little(tmp_path / str(number), seed) for number, seed in enumerate((5, 5, 6))]
    assert digests[0] == digests[1] != digests[2]


def test_padding_stays_zero_as_ctranslate2_takes_it_to_be(tmp_path):
    from safetensors.numpy import load_file

    train_a_little(tmp_path, 5)
    padding = json.loads((tmp_path / "config.json").read_text())["pad_token_id"]
    embeddings = load_file(tmp_path / "model.safetensors")["model.shared.weight"]
    assert padding == len(embeddings) - 1
    assert not embeddings[padding].any()
    assert embeddings[:padding].any(axis=1).all()


def test_a_folder_without_its_tokenizer_is_told(tmp_path):
    train_a_little(tmp_path, 5)
    (tmp_path / "source.spm").unlink()
    with pytest.raises(ValueError, match=r"has no source\.spm"):
        transformers_translator(tmp_path)
