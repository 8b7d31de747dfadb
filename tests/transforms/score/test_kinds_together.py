"""Heads, classifiers and scorers of texts as the scoring step runs them: in one pass, by the engine."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import open_clip
import polars as pl
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from pairmill.transforms.score.clip_scorer import ClipScorer
from pairmill.transforms.score.engine import measure_rows
from pairmill.transforms.score.head import HeadScorer
from pairmill.transforms.score.image_classifier import ImageClassifierScorer
from pairmill.transforms.score.models import forget_models
from pairmill.transforms.score.scorer import Scorer, check_scorers
from pairmill.transforms.score.settings import InferenceSettings
from pairmill.transforms.score.text_classifier import TextClassifierScorer
from pairmill.transforms.score.text_flags import TextFlagsScorer
from pairmill.transforms.score.train_text_classifier import TextTraining, train_text_classifier

#: Of the tiny CLIP's embeddings.
WIDTH = 16
BROKEN = 4
CAPTIONS = [
    "a red car",
    "write to me@example.org",
    None,
    "  ",
    "a boat",
    "a dog",
    "darn, a bus " + "x " * 50_000,
    "end",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models on busy cores: torch's own threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scorers(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Scorer]:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(1)
    layers = {"weight": torch.randn(1, WIDTH), "bias": torch.zeros(1)}
    torch.save(layers, folder / "head.pth")
    model = timm.create_model("mobilenetv3_small_050", num_classes=2)
    model.pretrained_cfg.update(input_size=(3, 32, 32), test_input_size=None, num_classes=2)
    save_for_hf(model, folder / "timm", model_config={"label_names": ["clean", "watermark"]}, safe_serialization=True)
    (folder / "good.txt").write_text("".join(f"a red car number {n}\n" for n in range(60)))
    (folder / "bad.txt").write_text("".join(f"IMG_{n}.jpg\n" for n in range(60)))
    quality = folder / "quality.floret"
    train_text_classifier(folder / "good.txt", folder / "bad.txt", quality, TextTraining(buckets=500))
    (folder / "words.txt").write_text("darn\n")
    return {
        "clip": ClipScorer(model=str(tiny_clip)),
        "pretty": HeadScorer(on="clip", weights=str(folder / "head.pth"), output="sigmoid"),
        "raw": HeadScorer(on="clip", weights=str(folder / "head.pth"), embedding="raw"),
        "mark": ImageClassifierScorer(model=str(folder / "timm"), class_name="watermark"),
        "quality": TextClassifierScorer(model=str(quality), label="positive", texts=("caption", "recaption")),
        "flags": TextFlagsScorer(flags=("email",), profanity_words=str(folder / "words.txt")),
    }


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    rng = np.random.default_rng(0)
    bodies = []
    for _ in CAPTIONS:
        body = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(body, "PNG")
        bodies.append(body.getvalue())
    bodies[BROKEN] = bodies[BROKEN][:200]
    return bodies


def measure(scorers: Mapping[str, Scorer], images: list[bytes], **settings: int) -> dict[str, pl.DataFrame]:
    rows = pl.DataFrame(
        {
            "row_id": range(len(images)),
            "spool": [None if place == len(images) - 1 else "a.tar" for place in range(len(images))],
            "spool_offset": range(len(images)),
            "stored_bytes": [len(body) for body in images],
            "caption": CAPTIONS,
            "recaption": [None, *CAPTIONS[:-1]],
        },
        schema_overrides={"row_id": pl.UInt64},
    )
    given = InferenceSettings(device="cpu", **settings)
    return measure_rows(scorers, rows, lambda spool, offset, size: images[offset][:size], given).frames


def test_every_kind_writes_what_it_promises(scorers: Mapping[str, Scorer], images: list[bytes]) -> None:
    frames = measure(scorers, images)
    for name, scorer in scorers.items():
        assert dict(frames[name].schema) == {"row_id": pl.UInt64, **scorer.columns(name)}
        assert frames[name]["row_id"].to_list() == list(range(len(images)))


def test_one_bad_row_costs_no_other(scorers: Mapping[str, Scorer], images: list[bytes]) -> None:
    frames = measure(scorers, images)
    last = len(images) - 1
    for name in ("pretty", "raw", "mark"):
        scores, outcomes = frames[name][f"{name}_score"].to_list(), frames[name][f"{name}_outcome"].to_list()
        assert [place for place, score in enumerate(scores) if score is None] == [BROKEN, last]
        assert {place: told for place, told in enumerate(outcomes) if told} == {
            BROKEN: "decode_failed",
            last: "no_image",
        }
    texts = frames["quality"]
    assert texts["quality_outcome"].to_list() == [None, None, "no_text", "no_text", None, None, None, None]
    assert texts["quality_outcome_recaption"].to_list() == [
        "no_text",
        None,
        None,
        "no_text",
        "no_text",
        None,
        None,
        None,
    ]
    assert texts["quality_score_recaption"].to_list()[1:] == texts["quality_score"].to_list()[:-1]
    assert frames["flags"]["flags_email"].to_list() == [False, True, None, None, False, False, False, False]
    assert frames["flags"]["flags_profanity"].to_list() == [False, False, None, None, False, False, True, False]


def test_heads_read_the_embeddings_they_ask_for(scorers: Mapping[str, Scorer], images: list[bytes]) -> None:
    frames = measure(scorers, images)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{scorers['clip'].model}")
    weights = torch.load(scorers["pretty"].weights, weights_only=True)
    good = [place for place in range(len(images) - 1) if place != BROKEN]
    with torch.no_grad():
        pictures = torch.stack([preprocess(Image.open(io.BytesIO(images[place]))) for place in good])
        raw = model.eval().encode_image(pictures)
        unit = torch.nn.functional.normalize(raw, dim=1)
        pretty = torch.sigmoid(unit @ weights["weight"].T)[:, 0]
    np.testing.assert_allclose(frames["pretty"]["pretty_score"].drop_nulls(), pretty, rtol=1e-4)
    np.testing.assert_allclose(frames["raw"]["raw_score"].drop_nulls(), (raw @ weights["weight"].T)[:, 0], rtol=1e-4)


def test_numbers_do_not_depend_on_threads(scorers: Mapping[str, Scorer], images: list[bytes]) -> None:
    frames = measure(scorers, images, threads=1, batch_size=4)
    forget_models()
    again = measure(scorers, images, threads=3, batch_size=4)
    for name in scorers:
        assert frames[name].equals(again[name], null_equal=True)


def test_a_head_of_another_width_is_told_before_any_work(scorers: Mapping[str, Scorer], tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1, 512)}, tmp_path / "wide.pth")
    wide = HeadScorer(on="clip", weights=str(tmp_path / "wide.pth"))
    with pytest.raises(ValueError, match="it reads embeddings of 512 numbers, and clip gives 16"):
        check_scorers({"clip": scorers["clip"], "wide": wide})
    with pytest.raises(ValueError, match="mark is a image_classifier, which gives no image embeddings"):
        check_scorers({"mark": scorers["mark"], "wide": HeadScorer(on="mark", weights=wide.weights)})
