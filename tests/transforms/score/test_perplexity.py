from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from pairmill.transforms.score.perplexity import PerplexityScorer
from pairmill.transforms.score.scorer import LoadedTextScorer

TEXTS = [
    "a red car beside a church",
    "two dogs run over the green field near the river while a man in a blue coat watches them from the bridge",
    "x",
    "a",
    "a red car beside a church, a red car beside a church, a red car beside a church",
    "🚲 éé 日本",
]


def write_tokenizer(folder: Path, **special: str) -> int:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return tokenizer.get_vocab_size()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models on busy cores: torch's own threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    size = write_tokenizer(folder, bos_token="<s>", eos_token="</s>")
    config = GPT2Config(
        vocab_size=size, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1, use_cache=False
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama_without_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    size = write_tokenizer(folder, pad_token="<pad>")
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def loaded(folder: Path, **parameters: object) -> LoadedTextScorer:
    model = PerplexityScorer(model=str(folder), **parameters).load("cpu", "fp32")
    assert isinstance(model, LoadedTextScorer)
    return model


def by_hand(folder: Path, text: str) -> float:
    """Alone, without padding, by the model's own loss."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = torch.tensor([start + tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        return math.exp(model(input_ids=ids, labels=ids).loss)


@pytest.mark.parametrize("model", ["gpt2", "llama_without_start"])
def test_it_is_what_the_model_says_of_the_text_alone(model: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    long_enough = [text for text in TEXTS if len(text) > 1]
    got = loaded(folder).score(long_enough)
    np.testing.assert_allclose(got["perplexity"], [by_hand(folder, text) for text in long_enough], rtol=1e-4)
    assert got["perplexity"].dtype == np.float32
    assert got["tokens_cut"].tolist() == [0] * len(long_enough)


def test_a_text_of_one_token_is_judged_after_the_start(gpt2: Path, llama_without_start: Path) -> None:
    np.testing.assert_allclose(loaded(gpt2).score(["x"])["perplexity"], [by_hand(gpt2, "x")], rtol=1e-4)
    assert np.isnan(loaded(llama_without_start).score(["x", "a red"])["perplexity"]).tolist() == [True, False]


def test_a_score_does_not_depend_on_the_other_texts(gpt2: Path) -> None:
    model = loaded(gpt2)
    many = [f"{text} {number}" for number in range(12) for text in TEXTS]
    together = model.score(many)["perplexity"]
    alone = np.concatenate([model.score([text])["perplexity"] for text in many])
    assert alone.tobytes() == together.tobytes()
    assert model.score(many[::-1])["perplexity"][::-1].tobytes() == together.tobytes()


def test_a_long_text_is_cut_at_the_model_s_length_and_counted(gpt2: Path) -> None:
    text = " ".join(["church river"] * 10_000)
    tokens = len(AutoTokenizer.from_pretrained(gpt2)(text)["input_ids"])
    got = loaded(gpt2).score([text, "a red car"])
    assert np.isfinite(got["perplexity"]).all()
    assert got["tokens_cut"].tolist() == [tokens - 63, 0]  # the start takes one of 64 places
    got = loaded(gpt2, max_tokens=20).score([text])
    assert got["tokens_cut"].tolist() == [tokens - 19]
    assert loaded(gpt2).score([text * 3])["tokens_cut"].tolist() == [65_535]


def test_text_the_model_has_learned_scores_lower(gpt2: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer, model = AutoTokenizer.from_pretrained(gpt2), AutoModelForCausalLM.from_pretrained(gpt2)
    ids = torch.tensor([[0, *tokenizer(TEXTS[0])["input_ids"]]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    learned, other = loaded(tmp_path).score([TEXTS[0], "church a over red near car two"])["perplexity"]
    assert learned < 2 < other


def test_half_precision_is_near(gpt2: Path) -> None:
    model = PerplexityScorer(model=str(gpt2)).load("cpu", "bf16")
    assert isinstance(model, LoadedTextScorer)
    got = model.score(TEXTS)["perplexity"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, loaded(gpt2).score(TEXTS)["perplexity"], rtol=0.02)


def test_columns_and_identity(gpt2: Path, tmp_path: Path) -> None:
    scorer = PerplexityScorer(model=str(gpt2))
    assert scorer.columns("fluency") == {
        "fluency_perplexity": pl.Float32(),
        "fluency_tokens_cut": pl.UInt16(),
        "fluency_outcome": pl.String(),
    }
    assert scorer.text_columns() == ("caption",)
    copy = tmp_path / "copy"
    shutil.copytree(gpt2, copy)
    assert PerplexityScorer(model=str(copy)).identity() == scorer.identity()
    (copy / "tokenizer_config.json").write_text("{}")
    assert PerplexityScorer(model=str(copy)).identity() != scorer.identity()
    with pytest.raises(ValueError, match="is not the recorded model"):
        PerplexityScorer(model=str(copy), sha256="0" * 64).identity()


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _another_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')


def _fewer_layers(folder: Path) -> None:
    config = (folder / "config.json").read_text().replace('"n_layer": 2', '"n_layer": 3')
    (folder / "config.json").write_text(config)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_no_weights, "holds no weights"),
        (_another_kind, "is no causal language model with its tokenizer"),
        (_fewer_layers, "lacks weights of the model that it names"),
    ],
)
def test_a_wrong_model_is_told_in_one_line(
    gpt2: Path, tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(gpt2, copy)
    spoil(copy)
    with pytest.raises(ValueError, match=told) as refused:
        loaded(copy)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("model", ["no such folder", "../missing/of/models"])
def test_a_missing_model(model: str) -> None:
    with pytest.raises(ValueError, match=r"there is no such folder, and it is no id of a model on the hub"):
        PerplexityScorer(model=model).identity()


def test_the_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*args: object, **kwargs: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("outgoing traffic has been disabled\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ValueError, match=r"the hub does not give it: outgoing traffic has been disabled$"):
        PerplexityScorer(model="owner/name").identity()


@pytest.mark.parametrize(
    "parameters", [{"model": " "}, {"model": "m", "texts": ("",)}, {"model": "m", "max_tokens": 1}]
)
def test_bad_parameters(parameters: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^perplexity: "):
        PerplexityScorer(**parameters)
