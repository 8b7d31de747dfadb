"""The small CLIP's vision tower as captioners begin with it, and the pictures that they learn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pairmill.pipeline.demo.training.clip import CONFIG_FILE, WEIGHTS_FILE
from pairmill.pipeline.demo.training.pictures import small_picture, training_scene
from pairmill.pipeline.demo.training.vision import DEVIATION, MEAN, TowerSize, hugging_face_tower
from pairmill.transforms.model_folder import read_model_folder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import CLIPVisionModel

#: From these numbers on are the scenes of the captioners: the tower has learnt from none of them, so that what it says
#: of them is as good as of any others.
FIRST_OF_CAPTIONER, FIRST_OF_GIT = 2 << 32, 3 << 32
_CLIP = "clip"
_COMMITTED = Path(__file__).parents[1] / "trained" / _CLIP


def clip_beside(folder: Path) -> Path:
    """The CLIP in the folder beside a model's, or else the one that comes with the project."""
    beside = folder.parent / _CLIP
    return beside if beside.is_dir() else _COMMITTED


def clip_tower(folder: Path) -> tuple[CLIPVisionModel, TowerSize, str]:
    """The vision tower of a CLIP that ``clip.train`` wrote, and the sha256 of the CLIP.

    Raises ValueError, one line, where the folder does not hold a whole one.
    """
    from safetensors.torch import load_file

    found = read_model_folder(folder, needs=(CONFIG_FILE, WEIGHTS_FILE), kinds=("open_clip",))
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["model_cfg"]["vision_cfg"]
    heads = config["width"] // config["head_width"]
    named = {name: config[name] for name in ("image_size", "patch_size", "width", "layers", "mlp_ratio")}
    size = TowerSize(**named, heads=heads)
    return hugging_face_tower(size, load_file(folder / WEIGHTS_FILE)), size, found.sha256


def training_pictures(side: int, seed: int, numbers: Sequence[int]) -> Tensor:
    """Pictures of training scenes as a tower takes them: float32 of shape (pictures, 3, side, side)."""
    import torch

    pictures = [small_picture(training_scene(seed, number), side, seed, number)[0] for number in numbers]
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    return ((torch.from_numpy(np.stack(pictures)).float() / 255 - mean) / deviation).permute(0, 3, 1, 2)
