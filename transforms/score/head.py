"""Heads: small models over the image embeddings of another scorer, such as LAION's for aesthetics and nudity.

They are computed in numpy, in double precision: a head of LAION's costs some 15 microseconds a row of one core, where
the CLIP before it takes milliseconds.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.filters.score import Scale
from pairmill.transforms.model_folder import weight_file_sha256
from pairmill.transforms.score.head_weights import Activation, HeadWeights, Output, read_head_weights
from pairmill.transforms.score.known_heads import KNOWN_NAMES, Embedding, KnownHead, find_known
from pairmill.transforms.score.scorer import LoadedHead, Measures, Scorer


@dataclass(frozen=True, kw_only=True)
class HeadScorer(Scorer):
    """One number from each image embedding of the scorer ``on``: the column ``<name>_score``.

    weights: a file of dense layers, ``.pth``, ``.pt``, ``.npz`` or ``.safetensors`` (see ``head_weights``).
    known: the name of a published head (``laion_aesthetic``, ``improved_aesthetic``, ``laion_nsfw``), which settles
        the three parameters below. The files that LAION publishes are known by their sha256 and need no name.
    sha256: of the file; checked where given.
    activation: what stands between the layers of a head that is not known (``none``, ``relu``; default ``none``).
    output: what comes after the last (``identity``, ``sigmoid``; default ``identity``).
    embedding: what the head reads: the embedding divided by its length, or ``raw`` (default ``normalised``).
    other_clip: whether a known head may read another CLIP than its own. Its scores then mean nothing until somebody
        has looked at them: embeddings of two models are not alike, even of the same width.
    """

    kind: ClassVar[str] = "head"
    source: ClassVar[str] = "the head's own; see docs/scorers.md"
    reads: ClassVar[Literal["image", "text"]] = "image"
    on_device: ClassVar[bool] = False

    on: str
    weights: str
    known: str | None = None
    sha256: str | None = None
    activation: Activation | None = None
    output: Output | None = None
    embedding: Embedding | None = None
    other_clip: bool = False

    def __post_init__(self) -> None:
        for name in ("on", "weights"):
            if not getattr(self, name).strip():
                raise ValueError(f"head: {name} is empty; name {'a scorer' if name == 'on' else 'a file'}")
        if self.known is not None and self.known not in KNOWN_NAMES:
            raise ValueError(f"head: there is no known head {self.known!r}; known are: {', '.join(KNOWN_NAMES)}")
        for name, words in (("activation", Activation), ("output", Output), ("embedding", Embedding)):
            value = getattr(self, name)
            if value is not None and value not in get_args(words):
                raise ValueError(f"head: {name} is {value!r}; it must be one of {', '.join(get_args(words))}")

    def columns(self, name: str) -> dict[str, pl.DataType]:
        """``<name>_score`` and ``<name>_outcome``."""
        return {f"{name}_score": pl.Float32(), f"{name}_outcome": pl.String()}

    def identity(self) -> dict[str, Any]:
        """The digest of the file, its layers and how they are applied; for a known head its name and its scale."""
        digest, weights, known = self._read()
        activation, output, embedding = self._applied(known)
        scale: Scale | None = known[0].scale if known else "probability" if output == "sigmoid" else None
        return {
            "known": known[0].name if known else None,
            "sha256": digest,
            "layers": list(weights.widths),
            "activation": activation,
            "output": output,
            "embedding": embedding,
            "scale": scale,
        }

    @property
    def embedder(self) -> str | None:
        """The scorer that it reads."""
        return self.on

    def check_embedder(self, embedder: Scorer) -> None:
        """Raises ValueError where the embeddings have another width, or come from another CLIP than a known head's.

        Warns where it cannot be told which CLIP they come from, as of a local file of weights.
        """
        _, weights, known = self._read()
        width = embedder.embedding_width()
        if width != weights.widths[0]:
            raise ValueError(
                f"head {self.weights}: it reads embeddings of {weights.widths[0]} numbers, and {self.on} gives "
                f"{width}; name the head that belongs to the model"
            )
        if known and not self.other_clip:
            self._check_clip(known, embedder)

    def load(self, device: str, precision: str) -> LoadedHead:
        """The layers in memory; always on the CPU and in double precision."""
        _, weights, known = self._read()
        return _LoadedLayers(weights, *self._applied(known))

    def _read(self) -> tuple[str, HeadWeights, tuple[KnownHead, ...]]:
        digest = weight_file_sha256(self.weights, sha256=self.sha256)
        weights = read_head_weights(self.weights)
        try:
            return digest, weights, find_known(self.known, digest, weights)
        except ValueError as error:
            raise ValueError(f"head {self.weights}: {error}") from None

    def _applied(self, known: tuple[KnownHead, ...]) -> tuple[Activation, Output, Embedding]:
        if not known:
            return self.activation or "none", self.output or "identity", self.embedding or "normalised"
        for name in ("activation", "output", "embedding"):
            given, own = getattr(self, name), getattr(known[0], name)
            if given not in (None, own):
                raise ValueError(f"head {self.weights}: {known[0].name} has the {name} {own}; leave out {given!r}")
        return known[0].activation, known[0].output, known[0].embedding

    def _check_clip(self, known: tuple[KnownHead, ...], embedder: Scorer) -> None:
        model, pretrained = str(getattr(embedder, "model", "")), str(getattr(embedder, "pretrained", ""))
        if any(head.reads_clip(model, pretrained) for head in known):
            return
        clips = " or ".join(f"{head.clip[0]} with {head.pretrained}" for head in known)
        remedy = f"it belongs to {clips}; score with that, or set other_clip: true if another is meant"
        named = any(model in head.clip for head in known)
        if "/" in model or Path(model).is_dir() or (named and Path(pretrained).is_file()):
            warnings.warn(f"head {self.weights}: its files do not tell which CLIP {self.on} is; {remedy}", stacklevel=4)
            return
        raise ValueError(f"head {self.weights}: {self.on} is {model} with {pretrained}; {remedy}")


class _LoadedLayers(LoadedHead):
    def __init__(self, weights: HeadWeights, activation: Activation, output: Output, embedding: Embedding) -> None:
        self.weights = weights
        self.activation = activation
        self.output = output
        self.embedding = embedding

    def score(self, embeddings: npt.NDArray[np.float32]) -> Measures:
        """``score``: float32 [rows]."""
        return {"score": self.weights.apply(embeddings, self.activation, self.output)}
