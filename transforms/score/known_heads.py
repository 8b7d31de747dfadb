"""Published heads over CLIP image embeddings: what each is, which CLIP it belongs to, its scale and usual thresholds.

None is shipped; a recipe names its file. A file is known by its sha256, or by the name of its head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pairmill.filters.score import Scale
from pairmill.transforms.score.head_weights import Activation, HeadWeights, Output

Embedding = Literal["normalised", "raw"]


@dataclass(frozen=True)
class Threshold:
    """A bound that somebody published, with the data it was used for and where that is said. Advice, never applied."""

    bound: Literal["at_least", "at_most"]
    value: float
    used_for: str
    source: str


@dataclass(frozen=True)
class KnownHead:
    """One published head. ``name`` may be shared by the heads of several CLIPs.

    ``clip`` are open_clip's names of the model it reads, the better first, ``pretrained`` open_clip's tag of the
    weights, ``hub`` the id under which the Hugging Face hub has both. ``layers`` are the widths from the embedding to
    the score; ``tells`` is what that is about. ``files`` are sha256 of files known to hold it.
    """

    name: str
    clip: tuple[str, ...]
    pretrained: str
    hub: str
    layers: tuple[int, ...]
    activation: Activation
    output: Output
    embedding: Embedding
    scale: Scale
    tells: str
    files: tuple[str, ...]
    thresholds: tuple[Threshold, ...]
    source: str

    def reads_clip(self, model: str, pretrained: str) -> bool:
        """Whether a CLIP, as a recipe names it, is the one whose embeddings this head was trained on."""
        return model == f"hf-hub:{self.hub}" or (model in self.clip and pretrained == self.pretrained)

    def fits(self, weights: HeadWeights) -> bool:
        """Whether these weights have the layers of this head."""
        return weights.widths == self.layers


def _openai(name: str) -> tuple[str, ...]:
    """A model of OpenAI's by its two names in open_clip; its weights were trained with the quick GELU."""
    return (f"{name}-quickgelu", name)


_AESTHETIC_SOURCE = "LAION-AI/aesthetic-predictor (MIT); scale and subsets: LAION-AI/laion-datasets, laion-aesthetic.md"
_AESTHETIC = "how good it looks, by the eyes of a few raters of generated pictures"
_AESTHETIC_THRESHOLDS = (
    Threshold("at_least", 7.0, "laion-aesthetic (120M pairs, by ViT-L/14)", "laion-aesthetic.md"),
    Threshold("at_least", 8.0, "laion-art (8M pairs, by ViT-L/14)", "laion-aesthetic.md"),
)
_NSFW_SOURCE = "LAION-AI/CLIP-based-NSFW-Detector (MIT), src/models.py and port_nsfw_to_pytorch.ipynb"
_NSFW = "nudity or pornography"
_NSFW_THRESHOLDS = (
    Threshold("at_most", 0.5, "laion-aesthetic, laion-art", "laion-aesthetic.md"),
    Threshold("at_most", 0.1, "Stable Diffusion 2 base", "model card of stabilityai/stable-diffusion-2-base"),
)

#: Every known head.
KNOWN_HEADS: tuple[KnownHead, ...] = (
    KnownHead(
        name="laion_aesthetic",
        clip=_openai("ViT-B-32"),
        pretrained="openai",
        hub="timm/vit_base_patch32_clip_224.openai",
        layers=(512, 1),
        activation="none",
        output="identity",
        embedding="normalised",
        scale="0-10",
        tells=_AESTHETIC,
        files=("c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",),
        thresholds=_AESTHETIC_THRESHOLDS,
        source=_AESTHETIC_SOURCE,
    ),
    KnownHead(
        name="laion_aesthetic",
        clip=_openai("ViT-B-16"),
        pretrained="openai",
        hub="timm/vit_base_patch16_clip_224.openai",
        layers=(512, 1),
        activation="none",
        output="identity",
        embedding="normalised",
        scale="0-10",
        tells=_AESTHETIC,
        files=("8ad3923d7ecf019df20ecd2ab5542a3075fbba0278d239c0371345f3d7fcbde0",),
        thresholds=_AESTHETIC_THRESHOLDS,
        source=_AESTHETIC_SOURCE,
    ),
    KnownHead(
        name="laion_aesthetic",
        clip=_openai("ViT-L-14"),
        pretrained="openai",
        hub="timm/vit_large_patch14_clip_224.openai",
        layers=(768, 1),
        activation="none",
        output="identity",
        embedding="normalised",
        scale="0-10",
        tells=_AESTHETIC,
        files=("2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",),
        thresholds=_AESTHETIC_THRESHOLDS,
        source=_AESTHETIC_SOURCE,
    ),
    KnownHead(
        name="improved_aesthetic",
        clip=_openai("ViT-L-14"),
        pretrained="openai",
        hub="timm/vit_large_patch14_clip_224.openai",
        layers=(768, 1024, 128, 64, 16, 1),
        activation="none",  # the five layers follow each other without one: so it was trained
        output="identity",
        embedding="normalised",
        scale="0-10",
        tells="how good it looks, by raters of generated pictures, logos and photographs",
        files=("21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",),
        thresholds=(
            Threshold("at_least", 4.5, "Stable Diffusion 2 base", "model card of stabilityai/stable-diffusion-2-base"),
            Threshold("at_least", 5.0, "Stable Diffusion 1.2", "model card of CompVis/stable-diffusion-v1-2"),
            Threshold("at_least", 6.0, "LAION-Aesthetics V2 6+ (12M pairs)", "laion.ai/blog/laion-aesthetics"),
        ),
        source="christophschuhmann/improved-aesthetic-predictor (Apache-2.0), simple_inference.py",
    ),
    KnownHead(
        name="laion_nsfw",
        clip=_openai("ViT-B-32"),
        pretrained="openai",
        hub="timm/vit_base_patch32_clip_224.openai",
        layers=(512, 32, 32, 1),
        activation="relu",
        output="sigmoid",
        embedding="normalised",
        scale="probability",
        tells=_NSFW,
        files=("533c2fe52b6e4237b709701bdf4207f89805e7019c51e8743fe165f57f3353b3",),
        thresholds=_NSFW_THRESHOLDS,
        source=_NSFW_SOURCE,
    ),
    KnownHead(
        name="laion_nsfw",
        clip=_openai("ViT-L-14"),
        pretrained="openai",
        hub="timm/vit_large_patch14_clip_224.openai",
        layers=(768, 64, 512, 256, 1),
        activation="relu",
        output="sigmoid",
        embedding="normalised",
        scale="probability",
        tells=_NSFW,
        files=("fbd014e66ca7befa3d8876dbb14c2527076fe854e43a27d90fd8cc44f6cc5de5",),
        thresholds=_NSFW_THRESHOLDS,
        source=_NSFW_SOURCE,
    ),
)

#: Their names.
KNOWN_NAMES: tuple[str, ...] = tuple(dict.fromkeys(head.name for head in KNOWN_HEADS))


def find_known(name: str | None, sha256: str, weights: HeadWeights) -> tuple[KnownHead, ...]:
    """The known heads that a file may be, given the name that a recipe calls it by, its digest and its layers.

    One where the digest is known. Several where one name has heads of equal layers (ViT-B/32 and ViT-B/16); they differ
    in their CLIP alone. None where nothing is known of the file and no name was given. Raises ValueError where the
    name and the file do not agree.
    """
    by_digest = tuple(head for head in KNOWN_HEADS if sha256 in head.files)
    if name is None:
        return by_digest
    named = tuple(head for head in KNOWN_HEADS if head.name == name)
    if not named:
        raise ValueError(f"there is no known head {name!r}; known are: {', '.join(KNOWN_NAMES)}")
    if by_digest:
        if by_digest[0].name != name:
            raise ValueError(f"the file is {by_digest[0].name} and not {name}")
        return by_digest
    fitting = tuple(head for head in named if head.fits(weights))
    if not fitting:
        shapes = " or ".join("-".join(map(str, head.layers)) for head in named)
        raise ValueError(f"the layers are {'-'.join(map(str, weights.widths))}; those of {name} are {shapes}")
    return fitting
