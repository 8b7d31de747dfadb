from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pairmill.filters.score import MeasuredBy, Score, check_models
from pairmill.transforms.score.clip_scorer import ClipScorer
from pairmill.transforms.score.head import HeadScorer
from pairmill.transforms.score.image_classifier import ImageClassifierScorer
from pairmill.transforms.score.perplexity import PerplexityScorer
from pairmill.transforms.score.preprocess import Preprocessing
from pairmill.transforms.score.score_models import measured_columns
from pairmill.transforms.score.text_classifier import TextClassifierScorer
from pairmill.transforms.score.text_flags import TextFlagsScorer

#: As a clip scorer tells it, of OpenAI's ViT-B/32.
B32 = {"model": "ViT-B-32", "pretrained": "openai", "sha256": "a" * 64, "scale": "cosine"}


def head(folder: Path) -> HeadScorer:
    torch.save(torch.nn.Linear(512, 1).state_dict(), folder / "head.pth")
    return HeadScorer(on="clip", weights=str(folder / "head.pth"), known="laion_aesthetic")


def test_a_clip_by_architecture_and_tag() -> None:
    scorer = ClipScorer(model="ViT-B-32", pretrained="openai", texts=("caption", "recaption"), mirrored=True)
    measured = measured_columns("clip", scorer, B32)
    assert set(measured) == {
        "clip_similarity",
        "clip_mirrored_similarity",
        "clip_similarity_recaption",
        "clip_mirrored_similarity_recaption",
    }
    assert measured["clip_similarity"] == MeasuredBy(("ViT-B-32/openai",), "a" * 64, "cosine")


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ({"model": "hf-hub:apple/DFN", "pretrained": None}, ("hf-hub:apple/DFN",)),
        ({"model": "local-dir", "pretrained": None}, ()),
        ({"model": "ViT-B-32", "pretrained": "file"}, ()),
    ],
)
def test_other_clips(told: dict[str, str | None], names: tuple[str, ...]) -> None:
    measured = measured_columns("c", ClipScorer(model="ViT-B-32"), B32 | told)
    assert measured["c_similarity"].models == names


def test_a_known_head_has_its_name_with_and_without_its_clip(tmp_path: Path) -> None:
    scorer = head(tmp_path)
    identity = scorer.identity() | {"embedder": B32}
    measured = measured_columns("aesthetic", scorer, identity)
    assert measured["aesthetic_score"].scale == "0-10"
    for model in ("laion_aesthetic", "laion_aesthetic/ViT-B-32/openai", f"sha256:{identity['sha256'][:12]}"):
        check_models([Score(column="aesthetic_score", at_least=5, model=model, scale="0-10")], measured)
    for model, scale, told in (
        ("improved_aesthetic", "0-10", "bounds on aesthetic_score are for improved_aesthetic"),
        ("laion_aesthetic/ViT-L-14/openai", "0-10", "measures it with laion_aesthetic/ViT-B-32/openai or sha256:"),
        ("laion_aesthetic", "probability", "aesthetic_score is on the scale 0-10, and the bounds on probability"),
    ):
        with pytest.raises(ValueError, match=told):
            check_models([Score(column="aesthetic_score", at_least=0.5, model=model, scale=scale)], measured)


def test_models_of_the_hub_and_of_files(tmp_path: Path) -> None:
    told = {"sha256": "b" * 64, "scale": "probability"}
    of_hub = ImageClassifierScorer(model="owner/watermark@v2", class_name="watermark")
    assert measured_columns("mark", of_hub, told)["mark_score"].models == ("owner/watermark",)
    of_folder = ImageClassifierScorer(model=str(tmp_path), class_name="watermark")
    assert measured_columns("mark", of_folder, told)["mark_score"] == MeasuredBy((), "b" * 64, "probability")
    how = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", "squash")
    of_file = ImageClassifierScorer(
        model="resnet18", class_name="a", weights="w.pth", classes=("a", "b"), preprocessing=how
    )
    assert measured_columns("mark", of_file, told)["mark_score"].models == ()
    assert set(measured_columns("fluency", PerplexityScorer(model="a/b"), told)) == {"fluency_perplexity"}
    (tmp_path / "q.floret").write_bytes(b"x")
    quality = TextClassifierScorer(model=str(tmp_path / "q.floret"), label="good")
    assert measured_columns("quality", quality, told)["quality_score"].models == ()


def test_flags_are_no_scores() -> None:
    assert measured_columns("flags", TextFlagsScorer(), {}) == {}
