"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from pairmill.sharding.pair import pair_uid

# No test asserts a time, and machines are busy.
settings.register_profile("pairmill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pairmill")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs, captions and hostile files, which lies beside the project where it exists."""
    if not (SHARED_DATA / "README.md").is_file():
        pytest.skip("the folder of real data (shared/data beside the project) is not here")
    return SHARED_DATA


@dataclass(frozen=True)
class SmallPool:
    """A folder of drawn images with captions, and what must become of each: file name to reason, None where kept."""

    folder: Path
    expected: dict[str, str | None]

    def recipe(self, path: Path, **sections: object) -> Path:
        """Write a recipe for the pool; ``sections`` replace or add its top-level keys."""
        recipe = {
            "name": "small",
            "pool": {"path": str(self.folder), "format": "files", "block_rows": 4},
            "rules": [{"image_size": {"min_side": 32}}],
            "shards": {"samples_per_shard": 8, "group_blocks": 3},
            **sections,
        }
        path.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML too
        return path


def drawn(seed: int, width: int = 96, height: int = 80) -> Image.Image:
    """A picture of large coloured patches; no two seeds are near duplicates."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def small_pool(tmp_path_factory: pytest.TempPathFactory) -> SmallPool:
    """24 good pictures, and one row for each kind of fault that local files can have."""
    folder = tmp_path_factory.mktemp("small") / "pool"
    (folder / "sub").mkdir(parents=True)
    expected: dict[str, str | None] = {}

    def put(name: str, image: Image.Image | bytes, caption: str | None, reason: str | None = None) -> None:
        path = folder / name
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            image.save(path, quality=92)
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        expected[name] = reason

    for number in range(24):
        put(f"{'sub/' if number % 3 == 0 else ''}p{number:02d}.jpg", drawn(number), f"picture number {number}")
    good = (folder / "p01.jpg").read_bytes()
    # Of equal images the one of the smaller uid survives: let it be the first.
    first = pair_uid("p01.jpg", "picture number 1")
    again = next(text for n in count() if pair_uid("q-copy.jpg", text := f"the same bytes, take {n}") > first)
    put("q-copy.jpg", good, again, "duplicate_sha256")
    put("q-small.jpg", drawn(2, 72, 60), "a smaller copy", "near_duplicate")
    put("r-none.jpg", drawn(101), None, "no_caption")
    put("r-blank.jpg", drawn(102), " \n", "no_caption")
    put("r-page.jpg", b"<!DOCTYPE html><html>gone</html>", "a page", "not_an_image")
    put("r-torn.jpg", good[: len(good) // 2], "half of it", "undecodable")
    put("r-empty.jpg", b"", "nothing", "empty_body")
    put("r-tiny.jpg", drawn(103, 20, 60), "too small", "image_too_small")
    return SmallPool(folder, expected)
