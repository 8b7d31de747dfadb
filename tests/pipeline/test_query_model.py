from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairmill.pipeline.query_model import load_query_model
from pairmill.transforms.score.clip_model import find_clip
from pairmill.transforms.score.preprocess import Preprocessing

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
PREPROCESSING = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.25), "bicubic", "shortest")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of an architecture that open_clip knows by name, in a file of their own."""
    from open_clip.factory import _MODEL_CONFIGS
    from safetensors.torch import save_file

    monkeypatch.setitem(_MODEL_CONFIGS, "tiny-for-tests", CONFIG)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-for-tests", load_weights=False)
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def identity_of(weights: Path) -> dict[str, Any]:
    """As it comes back from a dataset."""
    files = find_clip("tiny-for-tests", str(weights), None, PREPROCESSING)
    told: dict[str, Any] = json.loads(json.dumps({"kind": "clip", "precision": "bf16", **files.identity()}))
    return told


def test_a_file_of_weights_with_its_preprocessing(weights: Path, tmp_path: Path) -> None:
    identity = identity_of(weights)
    recorded = {"clip": {"model": "tiny-for-tests", "pretrained": str(weights)}}
    by_record = load_query_model(identity, recorded, None, "cpu").embed_text("a red circle")
    moved = weights.rename(tmp_path / "moved.safetensors")
    by_place = load_query_model(identity, recorded, str(moved), "cpu").embed_text("a red circle")
    assert by_record.tobytes() == by_place.tobytes()
    assert by_record.shape == (8,)
    assert np.isfinite(by_record).all()
    assert by_record.any()
    with pytest.raises(ValueError, match=r"pretrained .*weights\.safetensors is no file"):
        load_query_model(identity, recorded, None, "cpu")
    with pytest.raises(ValueError, match="no record of where; name it with --model"):
        load_query_model(identity, None, None, "cpu")


def test_the_preprocessing_of_a_file_of_weights_is_what_the_dataset_says(weights: Path) -> None:
    identity = identity_of(weights)
    identity["preprocessing"]["std"] = [1, 1, 1]
    # The weights are the same; only what the dataset says of the pictures differs, and that is what is followed.
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "PNG")
    told, own = (
        load_query_model(one, None, str(weights), "cpu").embed_image(file.getvalue(), "")
        for one in (identity, identity_of(weights))
    )
    assert not np.allclose(told, own)
    identity["config_sha256"] = "0" * 64
    with pytest.raises(ValueError, match="another config_sha256 than the one that made the embeddings"):
        load_query_model(identity, None, str(weights), "cpu")


def test_only_a_clip_embeds_queries() -> None:
    with pytest.raises(ValueError, match="those of a 'handler'; only a clip can embed a query"):
        load_query_model({"kind": "handler"}, None, None, "cpu")
