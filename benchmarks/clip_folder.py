"""CLIPs to measure speed with: folders as open_clip saves them, with random weights where there are no trained ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from photo_pool import ROOT

TRAINED = ROOT / "pipeline" / "demo" / "trained" / "clip"
_OPENAI = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
_SMALL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 4},
}


def clip_folder(name: str, cache: Path) -> Path:
    """``small`` (the demo's trained one, else a random one of its kind), or one of open_clip's architectures."""
    if name == "small" and TRAINED.is_dir():
        return TRAINED
    folder = cache / name
    if not (folder / "open_clip_model.safetensors").is_file():
        import open_clip
        import torch
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        config = _SMALL if name == "small" else open_clip.get_model_config(name)
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": _OPENAI}))
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder
