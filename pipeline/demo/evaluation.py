"""The evaluation set of the drawn world: a folder of pictures with captions, some of which leak into the pools."""

from __future__ import annotations

from pathlib import Path

from pairmill.pipeline.demo.forms import picture_file, scene_shown
from pairmill.pipeline.demo.grammar import caption

EVALUATION_FOLDER = "evaluation"


def write_evaluation_set(folder: Path, seed: int, pictures: int) -> None:
    """Write ``pictures`` images ``00000.jpg`` and captions ``00000.txt`` into ``folder``, which is made if need be.

    They show scenes that no pool of the seed has but for those that leak. Files of these names are written again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(pictures):
        (folder / f"{number:05}.jpg").write_bytes(picture_file(seed, "evaluation", number))
        scene = scene_shown(seed, "evaluation", number)
        assert scene is not None
        (folder / f"{number:05}.txt").write_text(caption(scene) + "\n", encoding="utf-8")
