"""Image classifiers of timm and of transformers: their classes, their preprocessing, and the network with its weights.

Both libraries give a network whose weights do not fit random ones, or stop at a class of their own; here either is a
ValueError with one line.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pairmill.transforms.score.preprocess import Preprocessing


@dataclass(frozen=True)
class ClassifierNetwork:
    """A loaded network: ``prepare`` makes float32 (3, height, width) of a picture, ``logits`` takes a batch of those.

    ``independent``: whether each class has a probability of its own (sigmoid), or all of them share one (softmax).
    """

    model: Any
    prepare: Callable[[Image.Image], npt.NDArray[np.float32]]
    logits: Callable[[Any], Any]
    independent: bool


def timm_class_names(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes of a timm model in a folder, and what else each is called ("" for nothing).

    Those of a model of ImageNet that names none are the synsets, ``n01440764``, else called by their description.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    pretrained = config.get("pretrained_cfg") or {}
    names = config.get("label_names") or pretrained.get("label_names")
    if names:
        listed = [names[key] for key in sorted(names, key=int)] if isinstance(names, dict) else list(names)
        described = config.get("label_descriptions") or pretrained.get("label_descriptions") or {}
        return tuple(map(str, listed)), tuple(str(described.get(name, "")) for name in listed)
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(pretrained | {"num_classes": config.get("num_classes", 0)})
    if subset is None:
        return (), ()
    told = ImageNetInfo(subset)
    return tuple(told.label_names()), tuple(told.label_descriptions())


def transformers_class_names(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes of a transformers model in a folder; they have one name each."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = config.get("id2label") or {}
    names = tuple(str(named[key]) for key in sorted(named, key=int))
    return names, ("",) * len(names)


def load_timm(folder: Path, dtype: Any) -> ClassifierNetwork:
    """A timm model from a folder with ``config.json`` and safetensors, and the preprocessing it names."""
    import timm
    from timm.data import create_transform, resolve_model_data_config

    with _one_line(folder):
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    return ClassifierNetwork(
        model.to(dtype), _by_torchvision(create_transform(**resolve_model_data_config(model))), model, False
    )


def load_timm_file(
    architecture: str, weights: Path, classes: int, preprocessing: Preprocessing, dtype: Any
) -> ClassifierNetwork:
    """One of timm's architectures with the weights in a file, all of them and no others.

    Several dense layers may stand in the place of the one that classifies, with a ReLU after each but the last: so
    LAION's watermark detector was made.
    """
    import timm
    import torch

    if not timm.is_model(architecture):
        raise ValueError(f"model {architecture}: there is no such folder, and no architecture of timm")
    with _one_line(weights):
        model: Any = timm.create_model(architecture, num_classes=classes)
        state = timm.models.load_state_dict(str(weights), weights_only=True)
        _replace_classifier(model, state)
        model.load_state_dict(state, strict=True)
        model.eval()
    if preprocessing.size is None:
        preprocessing = preprocessing.of_size(*model.pretrained_cfg["input_size"][1:])

    def prepare(image: Image.Image) -> npt.NDArray[np.float32]:
        pixels = torch.from_numpy(preprocessing.prepare(image).copy())
        floats: npt.NDArray[np.float32] = preprocessing.normalise(pixels[None])[0].numpy()
        return floats

    return ClassifierNetwork(model.to(dtype), prepare, model, False)


def load_transformers(folder: Path, dtype: Any) -> ClassifierNetwork:
    """A transformers model from a folder with ``config.json``, safetensors and its image processor."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with _one_line(folder):
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model, told = AutoModelForImageClassification.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    if told["missing_keys"] or told["mismatched_keys"]:
        lacking = sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]]))[0]
        raise ValueError(f"{folder}: its weights lack what its configuration names: {lacking}")

    def prepare(image: Image.Image) -> npt.NDArray[np.float32]:
        pixels = torch.as_tensor(np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0]))
        floats: npt.NDArray[np.float32] = pixels.float().numpy()
        return floats

    independent = model.config.problem_type == "multi_label_classification" or model.config.num_labels == 1
    return ClassifierNetwork(model.eval(), prepare, lambda batch: model(pixel_values=batch).logits, independent)


def _replace_classifier(model: Any, state: Mapping[str, Any]) -> None:
    """Make of the layer that classifies as many as the weights have in its place: ``classifier.0.weight`` and so on."""
    from torch import nn

    name = model.pretrained_cfg.get("classifier")
    if not isinstance(name, str) or f"{name}.weight" in state:
        return
    found = {
        int(match[1]): tensor.shape
        for key, tensor in state.items()
        if (match := re.fullmatch(rf"{re.escape(name)}\.(\d+)\.weight", key)) and tensor.ndim == 2
    }
    if not found:
        return
    last = max(found)
    layers: list[nn.Module] = [nn.Identity() for _ in range(last + 1)]
    for place, (after, before) in found.items():
        layers[place] = nn.Linear(before, after)
        if place < last and place + 1 not in found:
            layers[place + 1] = nn.ReLU()
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, nn.Sequential(*layers))


def _by_torchvision(transform: Callable[[Image.Image], Any]) -> Callable[[Image.Image], npt.NDArray[np.float32]]:
    def prepare(image: Image.Image) -> npt.NDArray[np.float32]:
        floats: npt.NDArray[np.float32] = transform(image).numpy()
        return floats

    return prepare


@contextmanager
def _one_line(where: Path) -> Iterator[None]:
    """What the libraries raise on a wrong model as a ValueError of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # of many types: of JSON, safetensors, torch and the two libraries
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = " ".join(lines[:2]) or type(error).__name__
        raise ValueError(f"{where}: it is no image classifier that can be loaded: {told}") from None
