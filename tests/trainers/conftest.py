"""A dataset that the main job made, and the Python environments whose trainers read it.

Trainers pin versions that conflict with each other's and with ours: those of `PAIRMILL_TRAINERS_PYTHON` run in that
environment. Each test is a script of this folder, run there over lines of docs/datasets.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairmill.runners.cli import main

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "datasets.md"
#: 26 samples a shard: whole batches of 26 for every loader worker that has shards.
SAMPLES, SHARDS = 208, 8
COLOURS = ("black", "blue", "green", "cyan", "red", "magenta", "yellow", "white")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two colours, named in the captions, so that a model can learn them. Not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "pool").mkdir()
    for number in range(SAMPLES):
        left, right = number % 8, number // 8 % 8
        noise = np.random.default_rng(number).integers(-40, 41, (40, 48 + number % 5, 3))
        colours = [[255 * (index >> 2), 255 * (index >> 1 & 1), 255 * (index & 1)] for index in (left, right)]
        pixels = np.repeat(np.asarray(colours), [24, 24 + number % 5], axis=0)[None] + noise
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "pool" / f"{number:03d}.jpg", quality=90)
        caption = f"{COLOURS[left]} beside {COLOURS[right]}, Bild {number} für alle"
        (folder / "pool" / f"{number:03d}.txt").write_text(caption, encoding="utf-8")
    recipe = {"name": "trained", "pool": {"path": str(folder / "pool"), "format": "files"}, "shards": {"count": SHARDS}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "build"), "--quiet"]) == 0
    return folder / "build" / "dataset"


@pytest.fixture(scope="session")
def both_formats(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same samples in tars and in MDS."""
    out = tmp_path_factory.mktemp("both") / "dataset"
    assert main(["reshard", str(dataset), str(out), "--format", "both", "--shards", str(SHARDS), "--quiet"]) == 0
    return out


@dataclass(frozen=True)
class Reader:
    """Runs a script of this folder under a Python, over the lines of a page that load the dataset."""

    python: str
    dataset: Path
    folder: Path  # for what it writes

    def lines(self, loader: str) -> Path:
        """The block of docs/datasets.md under the heading of that loader, with the dataset's folder, as a file."""
        part = PAGE.read_text(encoding="utf-8").split(f"\n### {loader}\n")[1].split("\n## ")[0].split("\n### ")[0]
        (block,) = re.findall(r"^```(?:python|sh)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        assert "DATASET" in block
        path = self.folder / "lines.py"
        path.write_text(block.replace("DATASET", str(self.dataset)), encoding="utf-8")
        return path

    def read(self, script: str, *arguments: object) -> Any:
        """What the script prints as JSON in its last line."""
        env = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "PYTHONPATH")}
        env |= {
            "OMP_NUM_THREADS": "1",
            "HF_HOME": str(self.folder / "hf"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "ignore",
        }
        command = [self.python, str(HERE / script), str(self.dataset), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def reader(dataset: Path, tmp_path: Path) -> Callable[[str], Reader]:
    """A reader in the trainers' environment; skips the test where it, or the package named, is not there."""

    def get(package: str) -> Reader:
        python = os.environ.get("PAIRMILL_TRAINERS_PYTHON")
        if not python:
            pytest.skip("PAIRMILL_TRAINERS_PYTHON names no Python that has the trainers")
        look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
        if (
            not Path(python).exists()
            or subprocess.run([python, "-c", look], capture_output=True, check=False).returncode
        ):
            pytest.skip(f"{python} is not there, or has no {package}")
        return Reader(python, dataset, tmp_path)

    return get


@pytest.fixture
def own_reader(dataset: Path, tmp_path: Path) -> Callable[[str], Reader]:
    """A reader in the environment of the tests."""

    def get(package: str) -> Reader:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed here")
        return Reader(sys.executable, dataset, tmp_path)

    return get
