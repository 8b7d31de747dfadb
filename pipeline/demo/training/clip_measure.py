"""How well a small CLIP tells true captions from others: on held-out scenes, and on a demo pool's own rows.

Its pictures are files as pools have them, and it is loaded and asked as a recipe's ``clip`` scorer does.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pairmill.pipeline.demo.forms import picture_file
from pairmill.pipeline.demo.grammar import LANGUAGES, caption
from pairmill.pipeline.demo.misstated import POINTS, misstated, other_scene
from pairmill.pipeline.demo.pool_rows import Pool
from pairmill.pipeline.demo.scene import Scene, scene_at
from pairmill.pipeline.demo.training.pictures import HELD_OUT_SEED

Floats = npt.NDArray[np.float32]

#: What a trained model must reach: number of ``measure_clip`` → the least that it may be.
BARS = {
    f"{captions}.{name}": bar
    for captions in ("english", "all_languages")
    for name, bar in {
        "retrieval_at_1_of_100": 0.9,
        "auc.mismatched": 0.97,
        **{f"auc.{point}": 0.75 for point in POINTS},
        "auc.partly_wrong": 0.85,
        "mismatched_removed_at_3_percent_loss": 0.95,
    }.items()
} | {"pool.good_kept": 0.97, "pool.mismatched_removed": 0.95}
#: Faults whose picture is whole, so that a score can tell what their caption is worth.
_SCORED = (
    *("mismatched", *(f"wrong_{point}" for point in POINTS), "boilerplate", "one_word", "short", "file_name"),
    *("german", "french", "spanish", "resized", "recompressed", "cropped", "mirrored", "watermarked"),
    *("recoloured", "recounted", "blank", "exif", "png", "webp", "tiny", "strip"),
)
_GALLERY = 100
_LOSS = 0.03
#: The share of true captions, of all languages, that the cut for recipes may cost.
_CUT_LOSS = 0.01
_BATCH = 100


class SmallClip:
    """A CLIP of a folder that scores pictures and texts on the CPU in float32."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError, one line, where the folder holds no whole CLIP of open_clip."""
        from pairmill.transforms.score.clip_model import find_clip, load_clip

        files = find_clip(str(folder.absolute()), None, None, None)
        self.model, self._tokenizer = load_clip(files, "cpu", "fp32")
        self._preprocessing = files.preprocessing

    def of_pictures(self, files: Iterable[bytes]) -> Floats:
        """Embeddings of picture files, of length 1."""
        import torch

        rows = []
        for batch in _in_batches(list(files)):
            with torch.inference_mode():
                pixels = torch.from_numpy(np.stack([self._prepared(file) for file in batch]))
                rows.append(self.model.encode_image(self._preprocessing.normalise(pixels), normalize=True))
        return torch.cat(rows).numpy()

    def of_texts(self, texts: Sequence[str]) -> Floats:
        """Embeddings of texts, of length 1."""
        import torch

        with torch.inference_mode():
            rows = [
                self.model.encode_text(self._tokenizer(list(batch)), normalize=True) for batch in _in_batches(texts)
            ]
        return torch.cat(rows).numpy()

    def _prepared(self, file: bytes) -> npt.NDArray[np.uint8]:
        with Image.open(io.BytesIO(file)) as picture:
            return self._preprocessing.prepare(ImageOps.exif_transpose(picture).convert("RGB"))


def measure_clip(folder: Path, scenes: int = 1000, rows: int = 2000) -> dict[str, Any]:
    """The numbers of a CLIP on held-out scenes, with the captions in English and in all languages; and of its cut.

    ``retrieval_at_1_of_100``: the share of pictures whose caption is nearest among a hundred. ``auc``: the chance that
    a true caption has a higher cosine than a wrong one of that kind; of ``partly_wrong`` of all four kinds. ``cut`` is
    a cosine that a recipe may use, and ``pool`` what that keeps of each planted kind in a demo pool of ``rows`` rows.
    Computes with one thread, as scorers do.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _all_measured(SmallClip(folder), scenes, rows)
    finally:
        torch.set_num_threads(threads)


def _all_measured(model: SmallClip, scenes: int, rows: int) -> dict[str, Any]:
    shown = [scene_at(HELD_OUT_SEED, number) for number in range(scenes)]
    pictures = model.of_pictures(picture_file(HELD_OUT_SEED, "plain", number) for number in range(scenes))
    codes = tuple(LANGUAGES)
    english = _measured(model, shown, pictures, ["en"] * scenes)
    mixed = _measured(model, shown, pictures, [codes[number % len(codes)] for number in range(scenes)])
    cut = math.floor(mixed["cosine"]["true_lowest_1_percent"] * 100) / 100
    kept = kept_of_pool(model, cut, rows)
    return {
        "scenes": scenes,
        "english": english,
        "all_languages": mixed,
        "cut": cut,
        "pool": {"good_kept": kept["good"], "mismatched_removed": round(1 - kept["mismatched"], 4), "kept": kept},
    }


def _measured(model: SmallClip, shown: Sequence[Scene], pictures: Floats, languages: Sequence[str]) -> dict[str, Any]:
    texts = model.of_texts([caption(scene, language) for scene, language in zip(shown, languages, strict=True)])
    true = (texts * pictures).sum(1)
    others = [other_scene(HELD_OUT_SEED, number, scene) for number, scene in enumerate(shown)]
    told = model.of_texts([caption(other, language) for other, language in zip(others, languages, strict=True)])
    mismatched = (told * pictures).sum(1)
    wrong = {}
    for point in POINTS:
        chosen = [n for n, scene in enumerate(shown) if point != "relation" or len(scene.groups) > 1]
        told = model.of_texts([caption(misstated(shown[n], point), languages[n]) for n in chosen])
        wrong[point] = (told * pictures[chosen]).sum(1)
    lowest = float(np.quantile(true, _LOSS))
    numbers = {
        "retrieval_at_1_of_100": _retrieval(pictures, texts),
        "auc": {
            "mismatched": auc(true, mismatched),
            **{point: auc(true, cosine) for point, cosine in wrong.items()},
            "partly_wrong": auc(true, np.concatenate(list(wrong.values()))),
        },
        "mismatched_removed_at_3_percent_loss": float((mismatched < lowest).mean()),
        "partly_wrong_removed_at_3_percent_loss": float((np.concatenate(list(wrong.values())) < lowest).mean()),
        "cosine": {
            "true_mean": float(true.mean()),
            "true_lowest_1_percent": float(np.quantile(true, _CUT_LOSS)),
            "true_lowest_3_percent": lowest,
            "mismatched_mean": float(mismatched.mean()),
            "mismatched_highest_5_percent": float(np.quantile(mismatched, 0.95)),
        },
    }
    return _rounded(numbers)


def auc(higher: Floats, lower: Floats) -> float:
    """The chance that one of the first is above one of the second; equal ones count half."""
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, "left") + np.searchsorted(ordered, higher, "right")
    return float(below.mean() / 2 / len(lower))


def _retrieval(pictures: Floats, texts: Floats) -> float:
    """The mean over galleries of 100 in order."""
    right = []
    for start in range(0, len(pictures) - _GALLERY + 1, _GALLERY):
        part = slice(start, start + _GALLERY)
        right.append((pictures[part] @ texts[part].T).argmax(1) == np.arange(_GALLERY))
    return float(np.concatenate(right).mean())


def kept_of_pool(model: SmallClip, cut: float, rows: int, seed: int = 0) -> dict[str, float]:
    """Of each planted kind in a demo pool, ``good`` for none, the share of rows whose cosine is at least ``cut``.

    What has no whole picture or no caption is left out.
    """
    kinds, files, texts = [], [], []
    for pair in Pool(rows, seed).pairs(0, rows):
        if pair.caption is not None and (not pair.planted or pair.planted in _SCORED):
            kinds.append(pair.planted or "good")
            files.append(picture_file(seed, pair.form, pair.number))
            texts.append(pair.caption)
    kept = (model.of_pictures(files) * model.of_texts(texts)).sum(1) >= cut
    named = np.array(kinds)
    return {kind: round(float(kept[named == kind].mean()), 4) for kind in ("good", *_SCORED) if kind in kinds}


def _in_batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: _rounded(value) if isinstance(value, dict) else round(value, 4) for name, value in numbers.items()}
