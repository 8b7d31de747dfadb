from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pairmill.transforms import language
from pairmill.transforms.fasttext_file import check_classifier_file
from pairmill.transforms.language import LanguageSettings

WHOLE = language._model_path(LanguageSettings()).read_bytes()


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.bin"
    path.write_bytes(content)
    return path


def dense(rows: int, columns: int) -> bytes:
    return struct.pack("<qq", rows, columns) + bytes(4 * rows * columns)


def small(model: int = 3, labels: int = 1, magic: int = 793712314, version: int = 12) -> bytes:
    """A classifier as fastText writes it without compression: one word, one label, vectors of 2 numbers."""
    arguments = struct.pack("<12id", 2, 5, 5, 1, 5, 1, 3, model, 0, 0, 0, 100, 0.0)
    words = b"dog\0" + struct.pack("<qb", 1, 0) + b"__label__en\0" + struct.pack("<qb", 1, 1)
    dictionary = struct.pack("<iiiqq", 2, 1, labels, 2, -1) + words
    return struct.pack("<ii", magic, version) + arguments + dictionary + b"\0" + dense(1, 2) + b"\0" + dense(1, 2)


def test_whole_classifiers_pass(tmp_path):
    check_classifier_file(written(tmp_path, WHOLE))
    check_classifier_file(written(tmp_path, small()))


@pytest.mark.parametrize("length", [1, 10, 63, 70, 100, 1000, 200_000, 500_000, 900_000, len(WHOLE) - 1])
def test_truncated_ones_are_told(tmp_path, length):
    with pytest.raises(ValueError, match=r"^it is truncated or damaged$"):
        check_classifier_file(written(tmp_path, WHOLE[:length]))


@pytest.mark.parametrize("length", range(1, len(small())))
def test_uncompressed_ones_truncated_anywhere_are_told(tmp_path, length):
    with pytest.raises(ValueError, match=r"^it is truncated or damaged$"):
        check_classifier_file(written(tmp_path, small()[:length]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"# a text file, which is no model at all", "it is no fastText model"),
        (small(version=13), "it is no fastText model"),
        (small(model=2), "it holds word vectors and no classifier"),
        (small(labels=0), "it has no labels"),
        (WHOLE + b"ab", "it is damaged: 2 bytes follow its end"),
    ],
)
def test_what_is_no_classifier_is_told(tmp_path, content, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_classifier_file(written(tmp_path, content))
