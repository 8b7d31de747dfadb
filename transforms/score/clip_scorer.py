"""The similarity of a picture and its texts by a CLIP of open_clip, and the embeddings of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from pairmill.transforms.score.clip_model import ClipFiles, check_clip, context_length, find_clip, load_clip
from pairmill.transforms.score.columns import outcome_column
from pairmill.transforms.score.preprocess import Preprocessing
from pairmill.transforms.score.scorer import CAPTION, LoadedDualEncoder, Measures, Scorer, column_name
from pairmill.transforms.score.text_tower import TextTower
from pairmill.transforms.score.tokens import Tokens, tokeniser


@dataclass(frozen=True, kw_only=True)
class ClipScorer(Scorer):
    """``<name>_similarity``: the cosine of image and text embedding, from -1 to 1, on the scale of its own model.

    A cosine of 0.3 is high for OpenAI's CLIP and low for another: a threshold belongs to a model. SigLIP's is the
    cosine too, without the scale and bias that make a probability of it.

    model, pretrained: one of open_clip's architectures with the tag of its weights or a file of weights;
        ``hf-hub:OWNER/NAME``; or a folder that open_clip saved (``open_clip_config.json``, weights, tokenizer).
    sha256: of the file of weights, or of the folder (``transforms/model_folder.py``); checked where given.
    preprocessing: how pictures are made ready, for a model that does not say it: a file of weights.
    texts: the text columns that are scored, each in columns of its own.
    embeddings: which embeddings are kept as columns, of length 1, in float16.
    mirrored: also ``<name>_mirrored_similarity``, with the picture mirrored: a text in the picture that repeats the
        caption can then not be read, and the similarity falls.
    """

    kind: ClassVar[str] = "clip"
    source: ClassVar[str] = (
        "open_clip; Radford et al. 2021, arXiv:2103.00020; as a filter: LAION-400M, arXiv:2111.02114"
    )
    reads: ClassVar[Literal["image", "text"]] = "image"

    model: str
    pretrained: str | None = None
    sha256: str | None = None
    preprocessing: Preprocessing | None = None
    texts: tuple[str, ...] = (CAPTION,)
    embeddings: tuple[Literal["image", "text"], ...] = ()
    mirrored: bool = False

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("clip: model is empty; name an architecture, hf-hub:OWNER/NAME or a folder")
        for name in ("texts", "embeddings"):
            values = getattr(self, name)
            if len(set(values)) != len(values) or not all(values):
                raise ValueError(f"clip: {name} is {list(values)}; name each once")
        if unknown := set(self.embeddings) - {"image", "text"}:
            raise ValueError(f"clip: embeddings names {sorted(unknown)[0]!r}; there are image and text")
        if not self.texts and (self.mirrored or self.embeddings != ("image",)):
            raise ValueError("clip: without texts only image embeddings can be had; name them, or a text column")

    def columns(self, name: str) -> dict[str, pl.DataType]:
        """Similarity, tokens cut and outcome of each text, and the embeddings asked for."""
        columns: dict[str, pl.DataType] = {} if self.texts else {f"{name}_outcome": pl.String()}
        for place, text in enumerate(self.texts):
            columns[column_name(name, "similarity", text)] = pl.Float32()
            if self.mirrored:
                columns[column_name(name, "mirrored_similarity", text)] = pl.Float32()
            columns[column_name(name, "tokens_cut", text)] = pl.UInt16()
            columns[outcome_column(name, text, place)] = pl.String()
        if "image" in self.embeddings:
            columns[f"{name}_image_embedding"] = pl.Binary()
        if "text" in self.embeddings:
            columns |= {column_name(name, "text_embedding", text): pl.Binary() for text in self.texts}
        return columns

    def identity(self) -> dict[str, Any]:
        """Model, hashes of weights and configuration, preprocessing; texts and embeddings. Checks that they fit."""
        files = self._find()
        check_clip(files)
        return files.identity() | {
            "scale": "cosine",
            "texts": list(self.texts),
            "embeddings": list(self.embeddings),
            "mirrored": self.mirrored,
        }

    def text_columns(self) -> tuple[str, ...]:
        """The texts."""
        return self.texts

    def embedding_width(self) -> int:
        """``embed_dim`` of the model's configuration."""
        return int(self._find().config["embed_dim"])

    def load(self, device: str, precision: str) -> LoadedDualEncoder:
        """Both towers on the device."""
        files = self._find()
        model, tokenizer = load_clip(files, device, precision)
        return _LoadedClip(model, tokenizer, files, device, precision, self.mirrored)

    def _find(self) -> ClipFiles:
        return find_clip(self.model, self.pretrained, self.sha256, self.preprocessing)


class _LoadedClip(LoadedDualEncoder):
    """A model of open_clip with its tokenizer and preprocessing."""

    def __init__(
        self, model: Any, tokenizer: Any, files: ClipFiles, device: str, precision: str, mirrored: bool
    ) -> None:
        import open_clip

        assert files.preprocessing.size is not None
        self.input_shape = (*files.preprocessing.size, 3)
        self.context_length = context_length(files.config)
        self._model = model
        self._preprocessing = files.preprocessing
        self._device = device
        self._dtype = open_clip.get_input_dtype(precision)  # None for fp32
        self._mirrored = mirrored
        self._text_tower = TextTower(model)
        self._tokenise = tokeniser(tokenizer)

    def prepare(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Resized and cut; still 8-bit."""
        return self._preprocessing.prepare(image)

    def forward(self, batch: npt.NDArray[np.uint8]) -> Measures:
        """``image``, and ``mirrored`` where asked for: float32 [pictures, width]."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(batch).to(self._device, non_blocking=True)
            floats = self._preprocessing.normalise(pixels)
            if self._dtype is not None:
                floats = floats.to(self._dtype)
            found = {"image": self._model.encode_image(floats).float()}
            if self._mirrored:
                found["mirrored"] = self._model.encode_image(floats.flip(3)).float()
            return {name: vectors.cpu().numpy() for name, vectors in found.items()}

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """As the model's own tokenizer does; also how many tokens it cut off."""
        return self._tokenise(texts)

    def padded_lengths(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Multiples of 16 tokens where the text tower looks only back, else the whole context length."""
        return self._text_tower.padded_lengths(ids)

    def forward_texts(self, ids: npt.NDArray[np.int64]) -> Measures:
        """``text``: float32 [texts, width]."""
        import torch

        with torch.inference_mode():
            tokens = torch.from_numpy(np.ascontiguousarray(ids)).to(self._device, non_blocking=True)
            return {"text": self._text_tower.encode(tokens).float().cpu().numpy()}
