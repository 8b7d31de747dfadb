"""The model that a build's embeddings were made with, found again to embed what they are searched for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import ImageFailure, store_image
from pairmill.transforms.score.clip_scorer import ClipScorer
from pairmill.transforms.score.device import resolve_device
from pairmill.transforms.score.preprocess import Preprocessing
from pairmill.transforms.score.scorer import LoadedDualEncoder
from pairmill.transforms.score.settings import InferenceSettings
from pairmill.transforms.score.stored_image import decode_stored

#: What of a scorer's identity decides an embedding; the rest is about what else it measured.
_DECIDES = ("sha256", "config_sha256", "preprocessing")


@dataclass(frozen=True)
class QueryModel:
    """A loaded model of texts and pictures, for one at a time; its embeddings are of any length."""

    model: LoadedDualEncoder

    def embed_text(self, text: str) -> npt.NDArray[np.float32]:
        """The embedding of a text; longer ones are cut as captions are. Raises ValueError for a blank one."""
        if not text.strip():
            raise ValueError("there is no word in it")
        ids, _ = self.model.tokenise([text])
        vector: npt.NDArray[np.float32] = self.model.forward_texts(ids)["text"][0]
        return vector

    def embed_image(self, body: bytes, recipe_text: str) -> npt.NDArray[np.float32]:
        """The embedding of a picture, which becomes first what the recipe would have stored of it.

        Raises ValueError for bytes that are no picture, or one that no recipe stores.
        """
        stored = store_image(body, _image_settings(recipe_text))
        if isinstance(stored, ImageFailure):
            raise ValueError(f"{stored.reason}: {stored.detail}")
        batch = np.stack([self.model.prepare(decode_stored(stored.data))])
        vector: npt.NDArray[np.float32] = self.model.forward(batch)["image"][0]
        return vector


def load_query_model(
    identity: Mapping[str, Any], recorded: Mapping[str, Mapping[str, Any]] | None, place: str | None, device: str
) -> QueryModel:
    """The model of a scorer whose embeddings a dataset holds.

    ``identity`` is what the dataset says of the scorer, ``recorded`` its section in the recipe as the build recorded
    it, or None. ``place``, a folder or a file of weights, stands in for the recorded one. Raises ValueError with one
    line when the model is not there, or is not the one that made the embeddings.
    """
    if identity.get("kind") != "clip":
        raise ValueError(f"its embeddings are those of a {identity.get('kind')!r}; only a clip can embed a query")
    scorer = _scorer(identity, dict((recorded or {}).get("clip") or {}), place)
    found = scorer.identity()
    for key in _DECIDES:
        if found[key] != identity.get(key):
            raise ValueError(
                f"the model found has another {key} than the one that made the embeddings "
                f"({_short(found[key])}, not {_short(identity.get(key))}); name the right one with --model"
            )
    # In fp32 whatever the scores were made in: one query costs nothing, and the CPU has no fp16.
    return QueryModel(scorer.load(resolve_device(InferenceSettings(device=device)), "fp32"))


def _scorer(identity: Mapping[str, Any], recorded: dict[str, Any], place: str | None) -> ClipScorer:
    """The model where the build found it, or at ``place``; models of the hub and of open_clip's list need no place."""
    name, pretrained = str(identity["model"]), identity.get("pretrained")
    preprocessing = None
    if pretrained is None and not name.startswith("hf-hub:"):
        name = place or recorded.get("model") or ""
        if not name:
            raise ValueError("its model was a folder, and there is no record of where; name it with --model")
        preprocessing = recorded.get("preprocessing")
    elif pretrained == "file":
        pretrained = place or recorded.get("pretrained")
        if not pretrained:
            raise ValueError("its weights were a file, and there is no record of where; name it with --model")
        preprocessing = identity["preprocessing"]
    elif place:
        name, pretrained = place, None
    return ClipScorer(model=name, pretrained=pretrained, preprocessing=_preprocessing(preprocessing))


def _preprocessing(told: Mapping[str, Any] | None) -> Preprocessing | None:
    if told is None:
        return None
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return Preprocessing(**values)


def _image_settings(recipe_text: str) -> ImageSettings:
    """How the dataset's recipe stores images; the defaults where the manifest does not say."""
    try:
        return ImageSettings(**(yaml.safe_load(recipe_text) or {}).get("image", {}))
    except (yaml.YAMLError, TypeError, ValueError, AttributeError):
        return ImageSettings()


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else repr(value)[:160]
