"""Similarities and embeddings are those of open_clip, each on its own scale."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pairmill.sharding.embeddings import unpack_fp16
from pairmill.transforms.score.clip_scorer import ClipScorer
from pairmill.transforms.score.engine import measure_rows
from pairmill.transforms.score.settings import InferenceSettings

CPU = InferenceSettings(device="cpu", threads=2)
SIGLIP = {
    "model_cfg__custom_text": True,
    "model_cfg__init_logit_bias": -10,
    "model_cfg__text_cfg__no_causal_mask": True,
    "model_cfg__text_cfg__pool_type": "last",
    "model_cfg__text_cfg__proj_bias": True,
    "preprocess_cfg__resize_mode": "squash",
    "preprocess_cfg__interpolation": "bicubic",
    "preprocess_cfg__mean": [0.5, 0.5, 0.5],
    "preprocess_cfg__std": [0.5, 0.5, 0.5],
}


def by_open_clip(folder: Path, spool: Any, rows: pl.DataFrame, mirrored: bool = False) -> tuple[Any, Any]:
    """Embeddings of length 1 of the pictures and the captions, as a user of open_clip makes them."""
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    places = rows.select("spool", "spool_offset", "stored_bytes").rows()
    pictures = [preprocess(Image.open(io.BytesIO(spool.read(*place))).convert("RGB")) for place in places]
    with torch.inference_mode():
        stacked = torch.stack(pictures)
        images = model.encode_image(stacked.flip(3) if mirrored else stacked, normalize=True)
        texts = model.encode_text(tokenizer(rows["caption"].to_list()), normalize=True)
    return images.numpy(), texts.numpy()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SIGLIP,
        {"model_cfg__custom_text": True},
        {"model_cfg__quick_gelu": True, "model_cfg__text_cfg__pool_type": "eos", "model_cfg__text_cfg__eos_id": 97},
        {"own_tokenizer": False, "model_cfg__text_cfg__vocab_size": 49_408, "model_cfg__text_cfg__context_length": 40},
    ],
    ids=["clip", "siglip", "custom text", "dfn", "openai's tokenizer"],
)
def test_similarities_and_embeddings_are_those_of_open_clip(
    make_clip: Any, spool: Any, changes: dict[str, Any]
) -> None:
    folder = make_clip(**changes)
    rows = spool.many(37)
    scorer = ClipScorer(model=str(folder), embeddings=("image", "text"), mirrored=True)
    frame = measure_rows({"clip": scorer}, rows, spool.read, CPU).frames["clip"]
    images, texts = by_open_clip(folder, spool, rows)
    assert frame["clip_outcome"].null_count() == 37
    cosines = (images * texts).sum(axis=1)
    assert np.abs(frame["clip_similarity"].to_numpy() - cosines).max() < 2e-6
    assert np.ptp(cosines) > 0.01  # the rows differ
    mirrored = (by_open_clip(folder, spool, rows, mirrored=True)[0] * texts).sum(axis=1)
    assert np.abs(frame["clip_mirrored_similarity"].to_numpy() - mirrored).max() < 2e-6
    assert np.abs(unpack_fp16(frame["clip_image_embedding"], 16) - images).max() < 1e-3
    assert np.abs(unpack_fp16(frame["clip_text_embedding"], 16) - texts).max() < 1e-3


def test_only_towers_that_look_back_get_shortened_rows(make_clip: Any, tiny_clip: Path) -> None:
    rows = ["red dog", "red " * 16, "the " * 100]
    for folder, lengths in ((tiny_clip, [16, 24, 24]), (make_clip(**SIGLIP), [24, 24, 24])):
        loaded = ClipScorer(model=str(folder)).load("cpu", "fp32")
        ids, cut = loaded.tokenise(rows)
        assert loaded.padded_lengths(ids).tolist() == lengths
        assert cut.tolist() == [0, 0, 78]


def test_each_text_has_columns_of_its_own(tiny_clip: Path, spool: Any) -> None:
    rows = spool.rows(
        [spool.picture(1), spool.picture(2), spool.picture(3)],
        ["a red dog", None, "the cat"],
        recaption=["a red dog", "a tree", "  "],
        translated=[None, None, "the cat " * 30],
    )
    scorer = ClipScorer(model=str(tiny_clip), texts=("caption", "recaption", "translated"))
    frame = measure_rows({"b32": scorer}, rows, spool.read, CPU).frames["b32"]
    assert frame.columns == ["row_id", *scorer.columns("b32")]
    assert frame["b32_outcome"].to_list() == [None, "no_text", None]
    assert frame["b32_outcome_recaption"].to_list() == [None, None, "no_text"]
    assert frame["b32_outcome_translated"].to_list() == ["no_text", "no_text", None]
    assert frame["b32_similarity"][0] == frame["b32_similarity_recaption"][0]
    assert frame["b32_similarity_recaption"].is_null().to_list() == [False, False, True]
    assert frame["b32_tokens_cut_translated"].to_list() == [None, None, 38]
    assert frame.schema["b32_tokens_cut"] == pl.UInt16


def test_image_embeddings_alone_need_no_text(tiny_clip: Path, spool: Any) -> None:
    rows = spool.rows([spool.picture(1), None], ["x", "y"]).drop("caption")
    scorer = ClipScorer(model=str(tiny_clip), texts=(), embeddings=("image",))
    frame = measure_rows({"c": scorer}, rows, spool.read, CPU).frames["c"]
    assert frame.columns == ["row_id", "c_outcome", "c_image_embedding"]
    assert frame["c_outcome"].to_list() == [None, "no_image"]
    assert frame["c_image_embedding"].bin.size().to_list() == [32, None]


def test_a_caption_of_100_000_characters_is_cut_as_the_model_does_and_counted(tiny_clip: Path, spool: Any) -> None:
    long, short = "red dog " * 12_500, "red dog " * 40
    rows = spool.rows([spool.picture(1)] * 3, [long, short, "a dog"])
    frame = measure_rows({"clip": ClipScorer(model=str(tiny_clip))}, rows, spool.read, CPU).frames["clip"]
    assert frame["clip_tokens_cut"].to_list() == [25_000 - 22, 80 - 22, 0]
    assert frame["clip_similarity"][0] == frame["clip_similarity"][1]


def test_bf16_is_within_its_stated_tolerance_of_fp32(tiny_clip: Path, spool: Any) -> None:
    rows = spool.many(40)
    scorers = {"clip": ClipScorer(model=str(tiny_clip))}
    exact = measure_rows(scorers, rows, spool.read, CPU).frames["clip"]["clip_similarity"]
    rough = InferenceSettings(device="cpu", precision="bf16")
    near = measure_rows(scorers, rows, spool.read, rough).frames["clip"]["clip_similarity"]
    assert near.dtype == pl.Float32
    assert 0 < (near - exact).abs().max() < 0.01  # docs/scoring.md


def test_the_identity_is_plain_and_changes_with_what_is_measured(tiny_clip: Path) -> None:
    scorer = ClipScorer(model=str(tiny_clip))
    identity = scorer.identity()
    assert json.loads(json.dumps(identity)) == identity
    assert ClipScorer(model=str(tiny_clip), sha256=identity["sha256"]).identity() == identity
    others = [{"texts": ("recaption",)}, {"embeddings": ("image",)}, {"mirrored": True}]
    assert all(ClipScorer(model=str(tiny_clip), **other).identity() != identity for other in others)
    assert scorer.embedding_width() == 16


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"model": " "}, "model is empty"),
        ({"model": "m", "texts": ("caption", "caption")}, "name each once"),
        ({"model": "m", "texts": ("",)}, "name each once"),
        ({"model": "m", "embeddings": ("video",)}, "'video'"),
        ({"model": "m", "texts": ()}, "only image embeddings"),
        ({"model": "m", "texts": (), "embeddings": ("image",), "mirrored": True}, "only image embeddings"),
    ],
)
def test_wrong_parameters_are_told(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ClipScorer(**parameters)
