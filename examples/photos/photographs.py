"""The real photographs and what can be said of each: COCO pictures with their captions, clothes with their labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from pairmill.pipeline.demo.identify import is_english
from pairmill.pipeline.demo.planting import Draft

#: Labels of the clothing data set as one says them.
_CLOTHES = {
    "dress": "a dress",
    "hat": "a hat",
    "longsleeve": "a shirt with long sleeves",
    "outwear": "a jacket or a coat",
    "pants": "a pair of pants",
    "shirt": "a shirt with buttons",
    "shoes": "a pair of shoes",
    "shorts": "a pair of shorts",
    "skirt": "a skirt",
    "t-shirt": "a t-shirt",
}
_FRAMES = (
    "this is a picture of {} that someone wants to sell",
    "someone took this picture of {} with a phone",
    "in this photograph you can see {}",
    "a photograph that shows {} and not much else",
    "here is {} that was photographed at home",
    "what you are looking at is {}",
    "the owner has laid out {} for a quick snapshot",
    "we have a clear view of {} in this photo",
)


@dataclass(frozen=True)
class Photograph:
    """One photograph: where it lies, its path on the server, and at least three English captions of it."""

    file: Path
    url: str
    captions: tuple[str, ...]
    source: str
    license: str
    width: int
    height: int

    def draft(self, planted: str = "", caption: int = 0) -> Draft:
        """The row of this photograph as it is."""
        return Draft(
            url=self.url,
            caption=self.captions[caption % len(self.captions)],
            planted=planted,
            content=self.url,
            look=self.url,
            width=self.width,
            height=self.height,
            size=self.file.stat().st_size,
            source=self.source,
            license=self.license,
        )

    def open(self) -> Image.Image:
        """Its pixels, mode RGB."""
        with Image.open(self.file) as picture:
            return picture.convert("RGB")


def read_photographs(data: Path, seed: int) -> list[Photograph]:
    """All 1,239 photographs below ``data`` (the folder of real data), in an order drawn from ``seed``."""
    rng = np.random.default_rng(seed)
    found = [*_coco(data / "photos"), *_clothes(data / "clothing", rng)]
    return [found[i] for i in rng.permutation(len(found))]


def german_captions(data: Path, count: int) -> list[str]:
    """The first captions in German that nobody takes for English."""
    captions = pl.read_parquet(data / "parallel_captions" / "multi30k_train_val.parquet", columns=["de"])["de"]
    german = (text for text in captions if len(text.split()) > 4 and not is_english(text))
    return [next(german) for _ in range(count)]


def _coco(folder: Path) -> list[Photograph]:
    photographs = []
    table = pl.read_parquet(folder / "captions.parquet").select("file", "captions", "license")
    for file, captions, licence in table.iter_rows():
        english = [text for text in captions if is_english(text) and len(text.split()) > 2 and "\n" not in text]
        photographs.append(_photograph(folder, file, "photos", dict.fromkeys(english), "coco", licence))
    return photographs


def _clothes(folder: Path, rng: np.random.Generator) -> list[Photograph]:
    photographs = []
    for file, label in pl.read_parquet(folder / "labels.parquet").select("file", "label").iter_rows():
        said = [_FRAMES[i].format(_CLOTHES[label]) for i in rng.permutation(len(_FRAMES))]
        english = [text for text in said if is_english(text)]
        photographs.append(_photograph(folder, file, "clothing", dict.fromkeys(english), "clothing", "CC0-1.0"))
    return photographs


def _photograph(
    folder: Path, file: str, place: str, captions: dict[str, None], source: str, licence: str
) -> Photograph:
    if len(captions) < 3:
        raise ValueError(f"{folder / file} has {len(captions)} English captions, fewer than the pool needs")
    with Image.open(folder / file) as picture:
        width, height = picture.size
    return Photograph(folder / file, f"/{place}/{Path(file).name}", tuple(captions), source, licence, width, height)
