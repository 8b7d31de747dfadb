"""The vision tower of the small models: a transformer in open_clip's layout that is taught the facts of scenes.

Facts are a far denser signal than captions: what a contrastive loss would need millions of pairs for is learnt from
some hundred thousand pictures. The heads that tell the facts are thrown away; the tower goes on in the small CLIP,
and from there into the captioners, as the ``CLIPVisionModel`` of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pairmill.pipeline.demo.training.course import Course, teach
from pairmill.pipeline.demo.training.labels import FACTS, NONE, PATCH_FACTS, fact_labels, patch_labels
from pairmill.pipeline.demo.training.pictures import small_picture, training_scene
from pairmill.pipeline.demo.training.plain_attention import through_layers

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import CLIPImageProcessor, CLIPVisionModel

#: Mean and standard deviation of the three colours that pictures are normalised with.
MEAN, DEVIATION = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
COURSE = Course(steps=3600)
#: What the facts of a picture weigh in the loss beside those of its patches.
_FACTS_WEIGHT = 7.0


@dataclass(frozen=True)
class TowerSize:
    """Sizes of the tower; ``image_size`` is the side of its square picture in pixels."""

    image_size: int = 80
    patch_size: int = 10
    width: int = 128
    layers: int = 6
    heads: int = 4
    mlp_ratio: float = 4.0

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    def vision_cfg(self) -> dict[str, Any]:
        """The tower as ``open_clip_config.json`` has it."""
        return {
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "width": self.width,
            "layers": self.layers,
            "head_width": self.width // self.heads,
            "mlp_ratio": self.mlp_ratio,
        }


def start_layers(layers: Any) -> None:
    """Random weights for open_clip's layers as CLIP's text tower starts with; its vision tower has no such start."""
    from torch import nn

    width, count = layers[0].attn.embed_dim, len(layers)
    for layer in layers:
        nn.init.normal_(layer.attn.in_proj_weight, std=width**-0.5)
        nn.init.normal_(layer.attn.out_proj.weight, std=width**-0.5 * (2 * count) ** -0.5)
        nn.init.normal_(layer.mlp.c_fc.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(layer.mlp.c_proj.weight, std=width**-0.5 * (2 * count) ** -0.5)


def new_heads(width: int) -> nn.ModuleDict:
    """What tells the facts of a picture, and of each of its patches, from the tower's last layer."""
    from torch import nn

    return nn.ModuleDict(
        {
            "facts": nn.Linear(width, sum(FACTS.values())),
            "patches": nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(PATCH_FACTS.values()))),
        }
    )


def look(tower: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """What a tower sees in pictures (batch, side, side, 3), uint8.

    That is the whole (batch, width), as open_clip has it before its projection, and each patch of the last layer.
    """
    import torch

    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    normalised = ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)
    x = through_layers(tower.transformer.resblocks, tower._embeds(normalised))
    return tower.ln_post(x[:, 0]), x[:, 1:]


def picture_batch(size: TowerSize, batch: int, seed: int, step: int) -> list[Tensor]:
    """Pictures, their facts and those of their patches: uint8 (batch, side, side, 3), int64."""
    import torch

    pixels, facts, patches = [], [], []
    for number in range(step * batch, (step + 1) * batch):
        scene = training_scene(seed, number)
        picture, box = small_picture(scene, size.image_size, seed, number)
        pixels.append(picture)
        facts.append(fact_labels(scene))
        patches.append(patch_labels(scene, box, size.grid))
    return [torch.from_numpy(np.stack(arrays)) for arrays in (pixels, facts, patches)]


def fact_loss(told: Tensor, labels: Tensor, facts: Mapping[str, int]) -> Tensor:
    """Mean over facts of their cross entropies; ``told`` (…, all values of all facts), ``labels`` (…, facts)."""
    import torch
    from torch.nn import functional

    parts = torch.split(told.float(), list(facts.values()), dim=-1)
    losses = [
        functional.cross_entropy(part.flatten(0, -2), label.flatten(), ignore_index=NONE)
        for part, label in zip(parts, labels.unbind(-1), strict=True)
        if bool((label != NONE).any())
    ]
    return torch.stack(losses).mean()


def vision_losses(
    heads: nn.ModuleDict, whole: Tensor, parts: Tensor, facts: Tensor, patches: Tensor
) -> dict[str, Tensor]:
    """How far what the heads tell is from the truth."""
    return {
        "facts": _FACTS_WEIGHT * fact_loss(heads["facts"](whole), facts, FACTS),
        "patches": len(PATCH_FACTS) * fact_loss(heads["patches"](parts), patches, PATCH_FACTS),
    }


def facts_right(told: Tensor, labels: Tensor) -> Tensor:
    """Whether each fact is told right (…, facts); what a scene has not is."""
    import torch

    parts = torch.split(told, list(FACTS.values()), dim=-1)
    said = torch.stack([part.argmax(-1) for part in parts], -1)
    return (said == labels) | (labels == NONE)


def teach_tower(tower: Any, heads: nn.ModuleDict, size: TowerSize, seed: int, course: Course = COURSE) -> None:
    """Teach a tower with random weights the facts of scenes."""
    from torch import nn

    def losses(pixels: Tensor, facts: Tensor, patches: Tensor) -> dict[str, Tensor]:
        return vision_losses(heads, *look(tower, pixels), facts, patches)

    start_layers(tower.transformer.resblocks)
    make = partial(picture_batch, size, course.batch, seed)
    teach(nn.ModuleDict({"tower": tower, "heads": heads}), [tower.transformer], make, losses, course)


def hugging_face_tower(size: TowerSize, state: Mapping[str, Tensor]) -> CLIPVisionModel:
    """The tower as transformers has it; ``state`` holds a CLIP's weights by open_clip's names (``visual.…``)."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=size.width,
        intermediate_size=int(size.width * size.mlp_ratio),
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        image_size=size.image_size,
        patch_size=size.patch_size,
        hidden_act="gelu",
    )
    model = CLIPVisionModel(config)
    named = hugging_face_state(state)
    if next(iter(model.state_dict())).startswith("vision_model."):  # transformers before version 5
        named = {f"vision_model.{name}": tensor for name, tensor in named.items()}
    model.load_state_dict(named)
    return model.eval()


def hugging_face_processor(size: TowerSize) -> CLIPImageProcessor:
    """What makes a picture of any size into the tower's pixels in transformers."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(
        size={"height": size.image_size, "width": size.image_size},
        do_center_crop=False,
        resample=3,  # bicubic
        image_mean=list(MEAN),
        image_std=list(DEVIATION),
    )


def hugging_face_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a ``CLIPVisionModel`` of transformers 5, from a CLIP's by open_clip's names, as float32.

    Its projection has no place there. Raises KeyError where ``state`` lacks a tower.
    """
    visual = {name.removeprefix("visual."): each.float() for name, each in state.items() if name.startswith("visual.")}
    named = {
        "embeddings.class_embedding": visual["class_embedding"],
        "embeddings.patch_embedding.weight": visual["conv1.weight"],
        "embeddings.position_embedding.weight": visual["positional_embedding"],
    }
    for kind in ("weight", "bias"):
        named[f"pre_layrnorm.{kind}"] = visual[f"ln_pre.{kind}"]
        named[f"post_layernorm.{kind}"] = visual[f"ln_post.{kind}"]
    for number in range(1 + max(int(name.split(".")[2]) for name in visual if name.startswith("transformer."))):
        ours, theirs = f"transformer.resblocks.{number}", f"encoder.layers.{number}"
        for kind in ("weight", "bias"):
            parts = visual[f"{ours}.attn.in_proj_{kind}"].chunk(3)
            for letter, part in zip("qkv", parts, strict=True):
                named[f"{theirs}.self_attn.{letter}_proj.{kind}"] = part.clone()
            for our, their in _LAYER_NAMES.items():
                named[f"{theirs}.{their}.{kind}"] = visual[f"{ours}.{our}.{kind}"]
    return named


_LAYER_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
