from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import pytest
import torch

from pairmill.filters.score import SCALES
from pairmill.transforms.model_folder import weight_file_sha256
from pairmill.transforms.score.head import HeadScorer
from pairmill.transforms.score.head_weights import read_head_weights
from pairmill.transforms.score.known_heads import KNOWN_HEADS, KNOWN_NAMES, KnownHead
from pairmill.transforms.score.scorer import LoadedHead, Scorer, check_scorers, scorer_identity


@dataclass(frozen=True, kw_only=True)
class SomeClip(Scorer):
    """What a head asks of the scorer it reads."""

    kind: ClassVar[str] = "clip"
    source: ClassVar[str] = "this test"
    reads: ClassVar[Literal["image", "text"]] = "image"
    model: str = "ViT-B-32-quickgelu"
    pretrained: str | None = "openai"
    width: int | None = 512

    def columns(self, name: str) -> dict[str, pl.DataType]:
        return {f"{name}_similarity": pl.Float32()}

    def identity(self) -> dict[str, Any]:
        return {"model": self.model}

    def load(self, device: str, precision: str) -> LoadedHead:
        raise NotImplementedError

    def embedding_width(self) -> int | None:
        return self.width


def saved(path: Path, *widths: int) -> Path:
    """A head of random layers, which nothing knows."""
    rng = np.random.default_rng(7)
    layers = {}
    for number, before in enumerate(widths):
        after = (*widths, 1)[number + 1]
        layers[f"{number}.weight"] = torch.from_numpy(rng.standard_normal((after, before)).astype(np.float32))
        layers[f"{number}.bias"] = torch.from_numpy(rng.standard_normal(after).astype(np.float32))
    torch.save(layers, path)
    return path


def head_file(shared_data: Path, head: KnownHead) -> Path:
    return next(file for file in (shared_data / "heads").iterdir() if weight_file_sha256(file) in head.files)


def test_what_it_writes_and_what_it_is(tmp_path: Path) -> None:
    file = saved(tmp_path / "mine.pth", 8, 4)
    head = HeadScorer(on="clip", weights=str(file), activation="relu", output="sigmoid", embedding="raw")
    assert head.columns("mine") == {"mine_score": pl.Float32(), "mine_outcome": pl.String()}
    assert head.embedder == "clip"
    identity = head.identity()
    assert identity["layers"] == [8, 4, 1]
    assert (identity["activation"], identity["output"], identity["embedding"]) == ("relu", "sigmoid", "raw")
    assert identity["known"] is None
    assert str(tmp_path) not in json.dumps(identity)
    shutil.copy(file, tmp_path / "other name.pth")
    again = HeadScorer(
        on="clip", weights=str(tmp_path / "other name.pth"), activation="relu", output="sigmoid", embedding="raw"
    )
    assert again.identity() == identity
    loaded = head.load("cpu", "fp32")
    assert isinstance(loaded, LoadedHead)
    assert loaded.embedding == "raw"
    x = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    scores = loaded.score(x)["score"]
    assert scores.tolist() == read_head_weights(file).apply(x, "relu", "sigmoid").tolist()


def test_a_head_of_another_width_is_refused_before_any_work(tmp_path: Path) -> None:
    head = HeadScorer(on="clip", weights=str(saved(tmp_path / "wide.pth", 768)))
    with pytest.raises(
        ValueError, match=r"it reads embeddings of 768 numbers, and clip gives 512; name the head"
    ) as told:
        check_scorers({"clip": SomeClip(), "mine": head})
    assert "\n" not in str(told.value)
    check_scorers({"clip": SomeClip(width=768), "mine": head})


def test_the_identity_of_the_embeddings_is_part_of_a_score(tmp_path: Path) -> None:
    head = HeadScorer(on="clip", weights=str(saved(tmp_path / "h.pth", 512)))
    identity = scorer_identity({"clip": SomeClip(model="a"), "mine": head}, "mine", "fp32")
    assert identity["embedder"]["model"] == "a"


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"on": " "}, "head: on is empty"),
        ({"weights": ""}, "head: weights is empty"),
        ({"known": "laion"}, "there is no known head 'laion'; known are: laion_aesthetic"),
        ({"activation": "gelu"}, "activation is 'gelu'; it must be one of none, relu"),
        ({"output": "softmax"}, "output is 'softmax'; it must be one of identity, sigmoid"),
        ({"embedding": "half"}, "embedding is 'half'; it must be one of normalised, raw"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HeadScorer(**{"on": "clip", "weights": "head.pth", **parameters})


def test_a_file_that_is_not_the_recorded_one(tmp_path: Path) -> None:
    head = HeadScorer(on="clip", weights=str(saved(tmp_path / "h.pth", 4)), sha256="0" * 64)
    with pytest.raises(ValueError, match="is not the recorded model"):
        head.identity()


def test_a_name_with_other_layers(tmp_path: Path) -> None:
    head = HeadScorer(on="clip", weights=str(saved(tmp_path / "h.pth", 512, 8)), known="laion_aesthetic")
    with pytest.raises(
        ValueError, match=r"the layers are 512-8-1; those of laion_aesthetic are 512-1 or 512-1 or 768-1"
    ):
        head.identity()


def test_a_resaved_head_is_known_by_its_name_and_belongs_to_its_clip(tmp_path: Path) -> None:
    file = saved(tmp_path / "resaved.pth", 768, 64, 512, 256)
    head = HeadScorer(on="clip", weights=str(file), known="laion_nsfw")
    assert head.identity()["output"] == "sigmoid"
    head.check_embedder(SomeClip(model="ViT-L-14", width=768))
    with pytest.raises(ValueError, match="clip is ViT-L-14 with laion2b_s32b_b82k; it belongs to ViT-L-14-quickgelu"):
        head.check_embedder(SomeClip(model="ViT-L-14", pretrained="laion2b_s32b_b82k", width=768))
    with pytest.raises(ValueError, match="laion_nsfw has the output sigmoid; leave out 'identity'"):
        HeadScorer(on="clip", weights=str(file), known="laion_nsfw", output="identity").identity()


def test_a_known_head_on_another_clip(tmp_path: Path) -> None:
    head = HeadScorer(on="clip", weights=str(saved(tmp_path / "a.pth", 512)), known="laion_aesthetic")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for clip in ("ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16"):
            head.check_embedder(SomeClip(model=clip))
        head.check_embedder(SomeClip(model="hf-hub:timm/vit_base_patch32_clip_224.openai", pretrained=None))
    for model, pretrained in (("ViT-B-32", "laion2b_s34b_b79k"), ("ViT-S-32", "openai"), ("RN50", "openai")):
        with pytest.raises(ValueError, match=r"belongs to .*; score with that, or set other_clip: true"):
            head.check_embedder(SomeClip(model=model, pretrained=pretrained))
    anyway = HeadScorer(on="clip", weights=head.weights, known="laion_aesthetic", other_clip=True)
    anyway.check_embedder(SomeClip(model="ViT-B-32", pretrained="laion2b_s34b_b79k"))
    with pytest.raises(ValueError, match="reads embeddings of 512"):
        anyway.check_embedder(SomeClip(width=384))


def test_a_clip_from_files_is_warned_of(tmp_path: Path) -> None:
    head = HeadScorer(on="clip", weights=str(saved(tmp_path / "a.pth", 512)), known="laion_aesthetic")
    (tmp_path / "weights.pt").write_bytes(b"x")
    for clip in (
        SomeClip(model=str(tmp_path), pretrained=None),
        SomeClip(model="ViT-B-32", pretrained=str(tmp_path / "weights.pt")),
        SomeClip(model="hf-hub:somebody/clip", pretrained=None),
    ):
        with pytest.warns(UserWarning, match="its files do not tell which CLIP clip is"):
            head.check_embedder(clip)


def test_every_known_head_is_whole() -> None:
    assert set(KNOWN_NAMES) == {"laion_aesthetic", "improved_aesthetic", "laion_nsfw"}
    for head in KNOWN_HEADS:
        assert head.layers[-1] == 1
        assert all((head.scale in SCALES, head.tells, head.source, head.thresholds))
        low, high = SCALES[head.scale]
        assert all(threshold.source and threshold.used_for for threshold in head.thresholds)
        assert all(low < threshold.value < high for threshold in head.thresholds)
        assert all(len(file) == 64 for file in head.files)


@pytest.mark.real_data
@pytest.mark.parametrize("head", KNOWN_HEADS, ids=lambda head: f"{head.name} {head.clip[-1]}")
def test_real_heads_are_recognised(shared_data: Path, head: KnownHead) -> None:
    file = head_file(shared_data, head)
    scorer = HeadScorer(on="clip", weights=str(file))
    assert scorer.identity()["known"] == head.name
    assert tuple(scorer.identity()["layers"]) == head.layers
    scorer.check_embedder(SomeClip(model=head.clip[0], width=head.layers[0]))
    other = next(name for name in KNOWN_NAMES if name != head.name)
    with pytest.raises(ValueError, match=f"the file is {head.name} and not {other}"):
        HeadScorer(on="clip", weights=str(file), known=other).identity()
    if head.layers[0] == 512:  # ViT-B/32 and ViT-B/16 have one width: the digest tells which it is
        wrong = "ViT-B-16" if head.clip[-1] == "ViT-B-32" else "ViT-B-32"
        with pytest.raises(ValueError, match=f"clip is {wrong} with openai"):
            scorer.check_embedder(SomeClip(model=wrong))


@pytest.mark.real_data
@pytest.mark.parametrize("head", KNOWN_HEADS, ids=lambda head: f"{head.name} {head.clip[-1]}")
def test_real_heads_give_what_torch_gives(shared_data: Path, head: KnownHead) -> None:
    file = head_file(shared_data, head)
    x = np.random.default_rng(3).standard_normal((40, head.layers[0])).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    got = HeadScorer(on="clip", weights=str(file)).load("cpu", "fp32").score(x)["score"]
    np.testing.assert_allclose(got, _by_torch(file, head, torch.from_numpy(x)), rtol=2e-5)


def _by_torch(file: Path, head: KnownHead, x: torch.Tensor) -> np.ndarray:
    """The published network in float32, written down a second time."""
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as archive:
            state = {name: torch.from_numpy(archive[name]) for name in archive.files}
        x = x.clone()
        x[:, state["categorical_columns"]] = 0
        x = (x - state["l1_mean"]) / state["l1_variance"].sqrt()
        for number in range(2, len(head.layers) + 1):
            x = x @ state[f"l{number}_kernel"] + state[f"l{number}_bias"]
            x = torch.relu(x) if number < len(head.layers) else torch.sigmoid(x)
        return x[:, 0].numpy()
    state = torch.load(file, weights_only=True, map_location="cpu")
    layers = [torch.nn.Linear(before, after) for before, after in pairwise(head.layers)]
    for layer, names in zip(layers, zip(*[iter(state)] * 2, strict=True), strict=True):
        layer.load_state_dict({name.rpartition(".")[2]: state[name] for name in names})
    with torch.no_grad():
        return torch.nn.Sequential(*layers)(x)[:, 0].numpy()


@pytest.mark.real_data
def test_scores_of_photographs_lie_in_their_known_range(shared_data: Path) -> None:
    with np.load(shared_data / "clip_b32_oracle" / "clip_vitb32_oracle.npz", allow_pickle=False) as oracle:
        x = oracle["embeddings"].astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    scores = {}
    for head in KNOWN_HEADS:
        if head.clip[-1] == "ViT-B-32":
            scorer = HeadScorer(on="clip", weights=str(head_file(shared_data, head)))
            scores[head.name] = scorer.load("cpu", "fp32").score(x)["score"]
    # LAION's statistics: 92 % of LAION-2B-en lie between 3 and 8 (laion-aesthetic.md; ViT-L/14).
    assert ((scores["laion_aesthetic"] > 3) & (scores["laion_aesthetic"] < 8)).all()
    assert 4 < scores["laion_aesthetic"].mean() < 6
    assert (scores["laion_nsfw"] >= 0).all()
    assert (scores["laion_nsfw"] < 0.1).all()


@pytest.mark.real_data
def test_the_nsfw_head_gives_what_the_keras_original_gave(shared_data: Path) -> None:
    """The outputs of the original model that LAION printed in ``port_nsfw_to_pytorch.ipynb``, for the same input."""
    head = next(head for head in KNOWN_HEADS if head.name == "laion_nsfw" and head.layers[0] == 512)
    noise = torch.randn([4, 512], generator=torch.Generator().manual_seed(8492))
    x = torch.nn.functional.normalize(noise).numpy()
    scores = HeadScorer(on="clip", weights=str(head_file(shared_data, head))).load("cpu", "fp32").score(x)["score"]
    np.testing.assert_allclose(scores, [4.6667284e-12, 1.4484495e-01, 3.4860303e-12, 1.3105124e-02], rtol=5e-6)
