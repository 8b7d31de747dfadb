"""Training a text classifier from two text files, one text a line: what is wanted, and what is not."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pairmill.transforms.score.text_classifier import LABEL, TextClassifier, one_line

POSITIVE, NEGATIVE = "positive", "negative"
#: With fewer distinct texts of a kind there is nothing to learn, or to judge the result with.
_FEWEST = 20


@dataclass(frozen=True)
class TextTraining:
    """How a text classifier is trained.

    seed: decides which texts are held out, and the order of the others.
    held_out: the share of the distinct texts that is kept from training, to judge the result.
    dimensions, epochs, learning_rate, word_ngrams: as in fastText; a feature is a word, a run of up to
        ``word_ngrams`` words, or a run of ``min_chars`` to ``max_chars`` characters within a word, so that texts
        without spaces have features too.
    buckets: into so many places runs are hashed; the file has about ``4 * dimensions * (buckets + words)`` bytes.
    """

    seed: int = 0
    held_out: float = 0.1
    dimensions: int = 16
    epochs: int = 5
    learning_rate: float = 0.5
    word_ngrams: int = 2
    min_chars: int = 2
    max_chars: int = 4
    buckets: int = 200_000

    def __post_init__(self) -> None:
        if not 0.0 < self.held_out <= 0.5:
            raise ValueError(f"held_out is {self.held_out}; give a share above 0, at most 0.5")
        for name in ("dimensions", "epochs", "learning_rate", "word_ngrams", "buckets"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.min_chars <= self.max_chars:
            raise ValueError(f"min_chars {self.min_chars} and max_chars {self.max_chars} leave no run of characters")


@dataclass(frozen=True)
class TrainingReport:
    """What was trained on, and how the classifier does on the texts that it has not seen.

    Texts are counted once each, blank ones not at all; ``in_both`` were in both files and are left out. ``accuracy``,
    ``precision`` and ``recall`` of the label ``positive`` are at a probability of one half.
    """

    positives: int
    negatives: int
    in_both: int
    held_out: int
    accuracy: float
    precision: float
    recall: float
    sha256: str


def train_text_classifier(
    positives: Path, negatives: Path, out: Path, training: TextTraining | None = None
) -> TrainingReport:
    """Train a classifier with the labels ``positive`` and ``negative``, and write it to ``out``.

    The same texts, settings and version of floret give the same bytes: one thread, and an order of the texts from
    their digests and the seed. Raises ValueError with one line when a file is missing or has too few texts, or where
    floret is missing.
    """
    training = training or TextTraining()
    wanted, unwanted = _texts(positives), _texts(negatives)
    both = wanted & unwanted
    wanted, unwanted = wanted - both, unwanted - both
    for file, texts in ((positives, wanted), (negatives, unwanted)):
        if len(texts) < _FEWEST:
            less = f" that {'are' if both else 'is'} not in the other file too" if both else ""
            raise ValueError(f"{file}: it has {len(texts)} distinct texts{less}; give {_FEWEST} at least, one a line")
    ordered = sorted(
        (_digest(text, training.seed), text, label)
        for texts, label in ((wanted, POSITIVE), (unwanted, NEGATIVE))
        for text in texts
    )
    held = [(text, label) for digest, text, label in ordered if _held_out(digest, training.held_out)]
    learned = [(text, label) for digest, text, label in ordered if not _held_out(digest, training.held_out)]
    for part, name in ((held, "held out"), (learned, "left to learn from")):
        if {label for _, label in part} != {POSITIVE, NEGATIVE}:
            raise ValueError(f"{positives}, {negatives}: the texts {name} are of one file alone; give more texts")
    _train(learned, out, training)
    accuracy, precision, recall = _judge(TextClassifier(out), held)
    return TrainingReport(
        positives=len(wanted),
        negatives=len(unwanted),
        in_both=len(both),
        held_out=len(held),
        accuracy=accuracy,
        precision=precision,
        recall=recall,
        sha256=hashlib.sha256(out.read_bytes()).hexdigest(),
    )


def _texts(file: Path) -> set[str]:
    """The distinct texts of a file, as the classifier reads them; bytes that are no UTF-8 become question marks."""
    try:
        with file.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            return {text for line in lines if (text := one_line(line))}
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error


def _digest(text: str, seed: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=str(seed).encode()).digest()


def _held_out(digest: bytes, share: float) -> bool:
    # The last bytes: the first are the order of training.
    return int.from_bytes(digest[4:], "big") < share * 2**32


def _train(texts: list[tuple[str, str]], out: Path, training: TextTraining) -> None:
    try:
        import floret
    except ModuleNotFoundError:
        raise ValueError("training needs the package floret: pip install 'pairmill[models]'") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        lines, model = Path(folder) / "texts", Path(folder) / "model"
        lines.write_text("".join(f"{LABEL}{label} {text}\n" for text, label in texts), encoding="utf-8", newline="\n")
        floret.train_supervised(
            input=str(lines),
            dim=training.dimensions,
            epoch=training.epochs,
            lr=training.learning_rate,
            wordNgrams=training.word_ngrams,
            minn=training.min_chars,
            maxn=training.max_chars,
            bucket=training.buckets,
            minCount=1,
            thread=1,
            verbose=0,
        ).save_model(str(model))
        os.replace(model, out)


def _judge(classifier: TextClassifier, texts: list[tuple[str, str]]) -> tuple[float, float, float]:
    """Accuracy, and precision and recall of the positives."""
    told = [(classifier.probabilities(text)[POSITIVE] >= 0.5, label == POSITIVE) for text, label in texts]
    hits = sum(found and true for found, true in told)
    found_all, true_all = sum(found for found, _ in told), sum(true for _, true in told)
    return sum(a == b for a, b in told) / len(told), hits / found_all if found_all else 0.0, hits / true_all
