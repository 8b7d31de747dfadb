"""The probability of a label that a text classifier gives: caption quality by a model of one's own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from pairmill.transforms.fasttext_file import classifier_labels
from pairmill.transforms.model_folder import weight_file_sha256
from pairmill.transforms.score.promised_columns import check_texts, measures_of_texts
from pairmill.transforms.score.scorer import CAPTION, LoadedTextScorer, Measures, Scorer

LABEL = "__label__"
#: What fastText takes for the end of a text; the rest would not be read.
_END = "</s>"


@dataclass(frozen=True, kw_only=True)
class TextClassifierScorer(Scorer):
    """``<name>_score``: the probability of ``label``, 0 to 1, and ``<name>_score_<text>`` for other texts.

    model: a file that floret wrote (``pairmill train-text-classifier`` does), or fastText (a published ``.bin`` or
        ``.ftz`` classifier).
    label: without the prefix ``__label__``.
    texts: the text columns that are read.
    sha256: of the file; checked where given.

    White space, line feeds too, is read as one space each; words that fastText would take for a label or for the end
    of the text are left out.
    """

    kind: ClassVar[str] = "text_classifier"
    source: ClassVar[str] = "fastText, arXiv:1607.01759; floret; as a quality filter: DataComp-LM, arXiv:2406.11794"
    reads: ClassVar[Literal["image", "text"]] = "text"
    on_device: ClassVar[bool] = False

    model: str
    label: str
    texts: tuple[str, ...] = (CAPTION,)
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name in ("model", "label"):
            if not getattr(self, name).strip():
                raise ValueError(f"text_classifier: {name} is empty")
        check_texts(self.kind, self.texts)

    def columns(self, name: str) -> dict[str, pl.DataType]:
        """``<name>_score`` and ``<name>_outcome``, and the same for each other text."""
        return measures_of_texts(name, {"score": pl.Float32()}, self.texts)

    def identity(self) -> dict[str, Any]:
        """The digest of the file, the label and the text columns."""
        digest = weight_file_sha256(self.model, sha256=self.sha256)
        self._check_label(_open(Path(self.model).expanduser(), digest))
        return {"sha256": digest, "scale": "probability", "label": self.label, "texts": list(self.texts)}

    def text_columns(self) -> tuple[str, ...]:
        """Those of ``texts``."""
        return self.texts

    def load(self, device: str, precision: str) -> LoadedTextScorer:
        """The classifier in memory; always on the CPU."""
        classifier = _open(Path(self.model).expanduser(), weight_file_sha256(self.model, sha256=self.sha256))
        self._check_label(classifier)
        return _LoadedClassifier(classifier, self.label)

    def _check_label(self, classifier: TextClassifier) -> None:
        if self.label not in classifier.labels:
            known = ", ".join(sorted(classifier.labels)[:50])
            raise ValueError(f"text classifier {self.model}: it has no label {self.label!r}; its labels are: {known}")


class TextClassifier:
    """A classifier of floret's or fastText's in memory."""

    def __init__(self, path: Path) -> None:
        """Load it. Raises ValueError, one line that names the file, where it is no classifier, or a damaged one."""
        try:
            library, labels = classifier_labels(path)
            if library == "floret":
                import floret

                self._model = floret.load_model(str(path)).f
            else:
                import fasttext

                self._model = fasttext.load_model(str(path)).f
        except ModuleNotFoundError as error:
            raise ValueError(
                f"text classifier {path}: needs the package {error.name}: pip install 'pairmill[models]'"
            ) from None
        except (OSError, ValueError) as error:
            raise ValueError(f"text classifier {path}: {error}") from error
        self.labels = frozenset(label.removeprefix(LABEL) for label in labels)

    def probabilities(self, text: str) -> dict[str, float]:
        """The probability of each label, 0 to 1, without the prefix; a label of less than 0.00001 may lack."""
        found = self._model.predict(one_line(text) + "\n", -1, 0.0, "strict")
        return {label.removeprefix(LABEL): min(max(float(p), 0.0), 1.0) for p, label in found}


class _LoadedClassifier(LoadedTextScorer):
    def __init__(self, classifier: TextClassifier, label: str) -> None:
        self.classifier = classifier
        self.label = label

    def score(self, texts: Sequence[str]) -> Measures:
        """``score``: float32."""
        scores = [self.classifier.probabilities(text).get(self.label, 0.0) for text in texts]
        return {"score": np.asarray(scores, dtype=np.float32)}


def one_line(text: str) -> str:
    """The text as training and scoring both give it to the classifier."""
    words = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ").split()
    return " ".join(word for word in words if word != _END and not word.startswith(LABEL))


@functools.lru_cache(maxsize=4)
def _open(path: Path, sha256: str) -> TextClassifier:
    """The classifier, loaded once a process; the digest tells when the file is another."""
    return TextClassifier(path)
