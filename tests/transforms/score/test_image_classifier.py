from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from timm.models import save_for_hf
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from pairmill.transforms.score.image_classifier import ImageClassifierScorer
from pairmill.transforms.score.preprocess import Preprocessing
from pairmill.transforms.score.scorer import LoadedImageScorer

CLASSES = ("clean", "watermark", "Logo")
SIZES = ((64, 48), (40, 90), (33, 33), (120, 50))


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(5)
    made = []
    for width, height in SIZES:
        patches = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        made.append(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))
    return made


def small_timm(classes: int = 3) -> Any:
    torch.manual_seed(2)
    model = timm.create_model("resnet10t", num_classes=classes, stem_width=8, channels=(8, 8, 16, 16)).eval()
    torch.nn.init.normal_(model.fc.weight, std=2.0)
    return model


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models on busy cores: torch's own threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timm") / "model"
    model = small_timm()
    model.pretrained_cfg.update(
        input_size=(3, 48, 48),
        test_input_size=None,
        crop_pct=0.9,
        crop_mode="center",
        interpolation="bicubic",
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
        num_classes=3,
    )
    arguments = {"stem_width": 8, "channels": (8, 8, 16, 16)}
    save_for_hf(model, folder, model_config={"label_names": CLASSES}, model_args=arguments, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(3)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: place for place, name in enumerate(CLASSES)},
    )
    model = ViTForImageClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=0.3)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6]).save_pretrained(folder)
    return folder


def loaded(folder: Path | str, class_name: str = "watermark", **parameters: Any) -> LoadedImageScorer:
    model = ImageClassifierScorer(model=str(folder), class_name=class_name, **parameters).load("cpu", "fp32")
    assert isinstance(model, LoadedImageScorer)
    return model


def scores(model: LoadedImageScorer, images: list[Image.Image]) -> np.ndarray:
    batch = np.stack([model.prepare(image) for image in images])
    assert batch.dtype == model.input_dtype
    assert batch.shape[1:] == model.input_shape
    return model.forward(batch)["score"]


def test_a_timm_folder_gives_what_timm_gives(timm_folder: Path) -> None:
    direct = timm.create_model(f"local-dir:{timm_folder}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(direct))
    with torch.no_grad():
        expected = direct(torch.stack([transform(image) for image in pictures()])).softmax(1)
    assert expected.std(0).min() > 0.001  # pictures are told apart
    for place, name in enumerate(CLASSES):
        got = scores(loaded(timm_folder, name), pictures())
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected[:, place].numpy())


def test_a_transformers_folder_gives_what_transformers_gives(vit_folder: Path) -> None:
    direct = AutoModelForImageClassification.from_pretrained(vit_folder).eval()
    processor = AutoImageProcessor.from_pretrained(vit_folder)
    with torch.no_grad():
        expected = direct(**processor(images=pictures(), return_tensors="pt")).logits.softmax(1)
    assert expected.std(0).min() > 0.001
    for place, name in enumerate(CLASSES):
        np.testing.assert_allclose(scores(loaded(vit_folder, name), pictures()), expected[:, place], rtol=1e-6)


def test_a_convolutional_one_of_transformers_with_independent_classes(tmp_path: Path) -> None:
    torch.manual_seed(4)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        id2label={0: "nsfw", 1: "drawing"},
        label2id={"nsfw": 0, "drawing": 1},
        problem_type="multi_label_classification",
    )
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    direct = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = direct(**processor(images=pictures(), return_tensors="pt")).logits.sigmoid()
    np.testing.assert_allclose(scores(loaded(tmp_path, "drawing"), pictures()), expected[:, 1], rtol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("several_layers", [False, True])
def test_a_file_of_weights_of_a_named_architecture(tmp_path: Path, suffix: str, several_layers: bool) -> None:
    """As LAION's watermark detector is published: weights alone, squashed pictures, two classes, three dense layers."""
    torch.manual_seed(6)
    direct = timm.create_model("mobilenetv3_small_050", num_classes=2).eval()
    if several_layers:
        direct.classifier = nn.Sequential(
            nn.Linear(1024, 25), nn.ReLU(), nn.Dropout(0.3), nn.Linear(25, 6), nn.ReLU(), nn.Linear(6, 2)
        ).eval()
    weights = tmp_path / f"watermark{suffix}"
    save_file(direct.state_dict(), weights) if suffix == ".safetensors" else torch.save(direct.state_dict(), weights)
    how = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", "squash", size=(64, 64))
    transform = create_transform(
        input_size=(3, 64, 64), mean=how.mean, std=how.std, interpolation="bilinear", crop_mode="squash", crop_pct=1.0
    )
    with torch.no_grad():
        expected = direct(torch.stack([transform(image) for image in pictures()])).softmax(1)[:, 0]
    model = loaded("mobilenetv3_small_050", weights=str(weights), classes=("watermark", "clear"), preprocessing=how)
    np.testing.assert_allclose(scores(model, pictures()), expected, rtol=1e-5)


def test_a_score_does_not_depend_on_the_other_pictures(timm_folder: Path) -> None:
    model, images = loaded(timm_folder), pictures() * 4
    batch = np.stack([model.prepare(image) for image in images])
    together = model.forward(batch)["score"]
    for place in (0, 5, 15):
        alone = np.zeros_like(batch)
        alone[place] = batch[place]
        assert model.forward(alone)["score"][place].tobytes() == together[place].tobytes()


@pytest.mark.parametrize("folder", ["timm_folder", "vit_folder"])
def test_half_precision_is_near(folder: str, request: pytest.FixtureRequest) -> None:
    scorer = ImageClassifierScorer(model=str(request.getfixturevalue(folder)), class_name="watermark")
    model = scorer.load("cpu", "bf16")
    assert isinstance(model, LoadedImageScorer)
    got = scores(model, pictures())
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, scores(scorer.load("cpu", "fp32"), pictures()), atol=0.05)


def test_columns_and_identity(timm_folder: Path, tmp_path: Path) -> None:
    scorer = ImageClassifierScorer(model=str(timm_folder), class_name="Watermark")
    assert scorer.columns("mark") == {"mark_score": pl.Float32(), "mark_outcome": pl.String()}
    identity = scorer.identity()
    assert (identity["library"], identity["class_name"], identity["class"]) == ("timm", "watermark", 1)
    assert str(timm_folder) not in json.dumps(identity)
    copy = tmp_path / "copy"
    shutil.copytree(timm_folder, copy)
    assert ImageClassifierScorer(model=str(copy), class_name="watermark").identity() == identity
    assert ImageClassifierScorer(model=str(copy), class_name="logo").identity() != identity
    with pytest.raises(ValueError, match="is not the recorded model"):
        ImageClassifierScorer(model=str(copy), class_name="logo", sha256="1" * 64).identity()


@pytest.mark.parametrize("folder", ["timm_folder", "vit_folder"])
def test_a_class_that_is_not_there_is_told_with_those_that_are(folder: str, request: pytest.FixtureRequest) -> None:
    scorer = ImageClassifierScorer(model=str(request.getfixturevalue(folder)), class_name="nsfw")
    with pytest.raises(ValueError, match=r"it has no class 'nsfw'; its classes are: clean, watermark, Logo$"):
        scorer.identity()


def test_two_classes_of_one_name(timm_folder: Path, tmp_path: Path) -> None:
    copy = _changed(timm_folder, tmp_path, lambda config: config | {"label_names": ["a", "b", "A"]})
    with pytest.raises(ValueError, match="several classes are called 'a'"):
        ImageClassifierScorer(model=str(copy), class_name="a").identity()


def test_the_classes_of_imagenet_have_two_names(timm_folder: Path, tmp_path: Path) -> None:
    def imagenet(config: dict[str, Any]) -> dict[str, Any]:
        config.pop("label_names")
        return config | {"num_classes": 1000, "pretrained_cfg": config["pretrained_cfg"] | {"num_classes": 1000}}

    copy = _changed(timm_folder, tmp_path, imagenet)
    by_synset = ImageClassifierScorer(model=str(copy), class_name="n01440764").identity()
    by_words = ImageClassifierScorer(model=str(copy), class_name="tench, tinca tinca").identity()
    assert by_synset == by_words
    assert by_synset["class"] == 0
    with pytest.raises(ValueError, match=r"its classes are: n01440764, .* and 950 more$"):
        ImageClassifierScorer(model=str(copy), class_name="fishes").identity()


def _changed(folder: Path, to: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    copy = to / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(change(config)))
    return copy


@pytest.mark.parametrize(
    ("folder", "change", "told"),
    [
        ("timm_folder", lambda c: c | {"label_names": ["watermark", "b"]}, "it names 2 classes and gives 3 numbers"),
        ("timm_folder", lambda c: c | {"architecture": "resnet18"}, "it is no image classifier that can be loaded"),
        ("timm_folder", lambda c: c | {"architecture": "nothing"}, "it is no image classifier that can be loaded"),
        ("vit_folder", lambda c: c | {"num_hidden_layers": 3}, "its weights lack what its configuration names"),
        ("vit_folder", lambda c: c | {"model_type": "gpt2"}, "it is no image classifier that can be loaded"),
        ("vit_folder", lambda c: c | {"hidden_size": 64}, "cannot|can be loaded|lack"),
        ("vit_folder", lambda c: {k: v for k, v in c.items() if k != "id2label"}, "it names no classes"),
    ],
)
def test_a_wrong_model_is_told_in_one_line(
    folder: str,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    told: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    copy = _changed(request.getfixturevalue(folder), tmp_path, change)
    with pytest.raises(ValueError, match=told) as refused:
        loaded(copy)
    assert "\n" not in str(refused.value)


def test_a_preprocessing_of_several_sizes_is_refused(vit_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(vit_folder, copy)
    processor = {"image_processor_type": "CLIPImageProcessor", "do_center_crop": False, "size": {"shortest_edge": 32}}
    (copy / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(ValueError, match="its preprocessing gives pictures of several sizes"):
        loaded(copy)


def test_a_file_of_weights_of_another_architecture(tmp_path: Path) -> None:
    torch.save(small_timm().state_dict(), tmp_path / "w.pth")
    how = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", "squash", size=(32, 32))
    for architecture, told in (("resnet18", "cannot|can be loaded"), ("no_such", "no architecture of timm")):
        with pytest.raises(ValueError, match=told) as refused:
            loaded(architecture, "a", weights=str(tmp_path / "w.pth"), classes=("a", "b", "c"), preprocessing=how)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"model": ""}, "model and class_name must not be empty"),
        ({"class_name": " "}, "model and class_name must not be empty"),
        ({"classes": ("a",)}, "classes goes with weights alone"),
        ({"weights": "w.pth"}, "a file of weights has no classes and no preprocessing"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ImageClassifierScorer(**{"model": "m", "class_name": "c", **parameters})
