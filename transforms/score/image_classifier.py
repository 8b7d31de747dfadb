"""The probability of a class that an image classifier gives: watermarks, nudity, screenshots, kinds of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from pairmill.transforms.model_folder import read_model_folder, weight_file_sha256
from pairmill.transforms.score.classifier_networks import (
    ClassifierNetwork,
    load_timm,
    load_timm_file,
    load_transformers,
    timm_class_names,
    transformers_class_names,
)
from pairmill.transforms.score.hub_folder import local_model_folder
from pairmill.transforms.score.preprocess import Preprocessing
from pairmill.transforms.score.scorer import LoadedImageScorer, Measures, Scorer

#: How many classes an error lists.
_TOLD = 50


@dataclass(frozen=True, kw_only=True)
class ImageClassifierScorer(Scorer):
    """``<name>_score``: the probability of the class ``class_name``, 0 to 1.

    model: a folder or an id on the Hugging Face hub (``OWNER/NAME``), of timm (its ``config.json`` names an
        architecture) or of transformers (``AutoModelForImageClassification``), with weights in safetensors. Or the name
        of one of timm's architectures, whose weights are in the file ``weights``.
    class_name: which class; an error lists them. ImageNet's are known by synset and by description.
    weights: of an architecture by name alone: ``.safetensors``, ``.pth`` or ``.pt``.
    classes, preprocessing: must be told with ``weights``, and with nothing else: the names in the order of the
        network's outputs, and how a picture is made ready.
    sha256: of the model's folder, or of the file ``weights``; checked where given.
    """

    kind: ClassVar[str] = "image_classifier"
    source: ClassVar[str] = "timm and transformers; each model's own preprocessing"
    reads: ClassVar[Literal["image", "text"]] = "image"

    model: str
    class_name: str
    weights: str | None = None
    classes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not self.model.strip() or not self.class_name.strip():
            raise ValueError("image_classifier: model and class_name must not be empty")
        given = [name for name in ("classes", "preprocessing") if getattr(self, name)]
        if self.weights is None and given:
            raise ValueError(f"image_classifier: {given[0]} goes with weights alone; {self.model} has its own")
        if self.weights is not None and len(given) < 2:
            raise ValueError("image_classifier: a file of weights has no classes and no preprocessing; give both")

    def columns(self, name: str) -> dict[str, pl.DataType]:
        """``<name>_score`` and ``<name>_outcome``."""
        return {f"{name}_score": pl.Float32(), f"{name}_outcome": pl.String()}

    def identity(self) -> dict[str, Any]:
        """The digest of the model, the class, and the preprocessing where the model does not hold it."""
        found = self._find()
        return {
            "architecture": self.model if found.architecture else None,
            "sha256": found.sha256,
            "scale": "probability",
            "library": found.library,
            "class_name": found.names[found.place],
            "class": found.place,
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
        }

    def load(self, device: str, precision: str) -> LoadedImageScorer:
        """The classifier on the device."""
        import torch

        found = self._find()
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        if found.architecture:
            assert self.preprocessing is not None
            network = load_timm_file(self.model, found.path, len(found.names), self.preprocessing, dtype)
        else:
            network = (load_timm if found.library == "timm" else load_transformers)(found.path, dtype)
        return _LoadedClassifier(network, found.place, len(found.names), device, dtype, self.model)

    def _find(self) -> _Found:
        called: tuple[str, ...] = ()
        try:
            if self.weights is not None:
                path, library, names = Path(self.weights).expanduser(), "timm", self.classes
                digest = weight_file_sha256(path, sha256=self.sha256)
            else:
                folder = read_model_folder(local_model_folder(self.model), needs=["config.json"], sha256=self.sha256)
                path, digest = folder.path, folder.sha256
                library = "timm" if "timm" in folder.kinds else "transformers"
                names, called = (timm_class_names if library == "timm" else transformers_class_names)(path)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"image_classifier needs the package {error.name}; pip install 'pairmill[models]'"
            ) from None
        return _Found(path, digest, library, names, self._place(names, called), self.weights is not None)

    def _place(self, names: Sequence[str], called: Sequence[str]) -> int:
        """The place of the class among the outputs."""
        if not names:
            raise ValueError(f"image classifier {self.model}: it names no classes; none can be chosen")
        wanted = self.class_name.casefold()
        for listed in (names, called):
            places = [place for place, name in enumerate(listed) if name.casefold() == wanted]
            if len(places) == 1:
                return places[0]
        more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        several = any(wanted in map(str.casefold, listed) for listed in (names, called))
        told = "several classes are called" if several else "it has no class"
        raise ValueError(
            f"image classifier {self.model}: {told} {self.class_name!r}; its classes are: "
            f"{', '.join(names[:_TOLD])}{more}"
        )


@dataclass(frozen=True)
class _Found:
    """A classifier on this machine; ``architecture``: it is a file of weights of one that is known by its name."""

    path: Path
    sha256: str
    library: str
    names: tuple[str, ...]
    place: int
    architecture: bool


class _LoadedClassifier(LoadedImageScorer):
    input_dtype = np.float32

    def __init__(
        self, network: ClassifierNetwork, place: int, classes: int, device: str, dtype: Any, model: str
    ) -> None:
        self._network = network
        self._place = place
        self._device = device
        self._dtype = dtype
        network.model.to(device).requires_grad_(False)
        # Two shapes of picture: what comes out must be of one, and the network must take it.
        shapes = {self.prepare(Image.new("RGB", size)).shape for size in ((64, 48), (40, 90))}
        if len(shapes) > 1:
            raise ValueError(f"image classifier {model}: its preprocessing gives pictures of several sizes: {shapes}")
        self.input_shape = shapes.pop()
        outputs = self._logits(np.zeros((1, *self.input_shape), np.float32)).shape
        if outputs != (1, classes):
            raise ValueError(f"image classifier {model}: it names {classes} classes and gives {outputs[-1]} numbers")

    def prepare(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """A picture by the model's own preprocessing: float32 (3, height, width)."""
        return self._network.prepare(image)

    def forward(self, batch: npt.NDArray[np.float32]) -> Measures:
        """``score``: float32."""
        logits = self._logits(batch)
        if self._network.independent:
            return {"score": logits[:, self._place].sigmoid().cpu().numpy()}
        return {"score": logits.softmax(1)[:, self._place].cpu().numpy()}

    def _logits(self, batch: npt.NDArray[np.float32]) -> Any:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(batch).to(self._device, non_blocking=True).to(self._dtype)
            return self._network.logits(pixels).float()
