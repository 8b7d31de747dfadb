"""The language of captions by gcld3, Google's compact language detector, as DataComp asks it for LAION-2B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from pairmill.transforms.score.promised_columns import check_texts, measures_of_texts
from pairmill.transforms.score.scorer import LoadedTextScorer, Measures, Scorer

#: What DataComp gives to gcld3.NNetLanguageIdentifier: how much of a text it looks at.
MIN_BYTES, MAX_BYTES = 0, 1000


@dataclass(frozen=True, kw_only=True)
class Gcld3Scorer(Scorer):
    """Whether gcld3 calls the language of each of ``texts`` ``language``: the column ``<name>_is_<language>``.

    The most likely language counts, however unsure of it gcld3 is. The scorer of the name ``gcld3`` writes
    ``gcld3_is_en``, which ``laion2b`` reads. gcld3 is no dependency of pairmill: ``pip install gcld3`` builds it, with
    protoc at hand.
    """

    kind: ClassVar[str] = "gcld3"
    source: ClassVar[str] = "DataComp laion2b (Gadre et al. 2023, arXiv:2304.14108; baselines/apply_filter.py)"
    reads: ClassVar[Literal["image", "text"]] = "text"
    paths: ClassVar[tuple[str, ...]] = ()

    language: str = "en"
    texts: tuple[str, ...] = ("caption",)

    def __post_init__(self) -> None:
        check_texts(self.kind, self.texts)
        if not self.language.replace("-", "").isalpha():
            raise ValueError(f"gcld3: language is {self.language!r}; give a code such as en")

    def columns(self, name: str) -> dict[str, pl.DataType]:
        """``<name>_is_<language>`` and ``<name>_outcome``; for further texts the same with their names at the end."""
        return measures_of_texts(name, {f"is_{self.language}": pl.Boolean()}, self.texts)

    def text_columns(self) -> tuple[str, ...]:
        """The texts that are read."""
        return self.texts

    def identity(self) -> dict[str, Any]:
        """The version of gcld3, which holds its model, and how it is asked. Raises ValueError where it is missing."""
        _gcld3()
        return {
            "gcld3": version("gcld3"),
            "bytes": [MIN_BYTES, MAX_BYTES],
            "language": self.language,
            "texts": list(self.texts),
        }

    def load(self, device: str, precision: str) -> LoadedTextScorer:
        """The detector; on the CPU."""
        return _Detector(
            _gcld3().NNetLanguageIdentifier(min_num_bytes=MIN_BYTES, max_num_bytes=MAX_BYTES), self.language
        )


class _Detector(LoadedTextScorer):
    def __init__(self, detector: Any, language: str) -> None:
        self._detector = detector
        self._language = language

    def score(self, texts: Sequence[str]) -> Measures:
        """The measure ``is_<language>``, bool; line feeds are read as spaces, as DataComp does."""
        found = [self._detector.FindLanguage(text=text.replace("\n", " ")).language == self._language for text in texts]
        return {f"is_{self._language}": np.array(found, dtype=bool)}


def _gcld3() -> Any:
    try:
        return import_module("gcld3")
    except ImportError as error:
        raise ValueError("the scorer gcld3 needs the package of that name; pip install gcld3 (with protoc)") from error
