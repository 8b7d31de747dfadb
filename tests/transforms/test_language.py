from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import fasttext
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms import language
from pairmill.transforms.language import LanguageSettings, identify_languages, language_model_sha256

SHIPPED = language._model_path(LanguageSettings())


def test_languages_of_plain_sentences():
    lang, confidence = identify_languages(
        [
            "A dog sleeps on the sofa",
            "Ein Hund schläft auf dem Sofa",
            "Un chien dort sur le canapé",
            "Un perro duerme en el sofá del salón",
        ]
    )
    assert lang.to_list() == ["en", "de", "fr", "es"]
    assert (lang.name, lang.dtype) == ("lang", pl.String)
    assert (confidence.name, confidence.dtype) == ("lang_confidence", pl.Float32)
    assert confidence.is_between(0.5, 1.0).all()


def test_null_and_blank_captions_have_no_language():
    lang, confidence = identify_languages([None, "", " \n\t", "\u3000", "a dog in the park"])
    assert lang.to_list() == [None] * 4 + ["en"]
    assert confidence.is_null().to_list() == [True] * 4 + [False]


def test_line_feeds_are_spaces():
    broken = identify_languages(["Ein Hund\nund eine Katze\r\nauf dem Sofa\n"])
    whole = identify_languages(["Ein Hund und eine Katze\r auf dem Sofa "])
    assert [s.to_list() for s in broken] == [s.to_list() for s in whole]
    assert broken[0].to_list() == ["de"]


@settings(deadline=None)
@given(st.lists(st.none() | st.text(st.characters()), max_size=8))
def test_any_text_has_an_answer_that_depends_on_it_alone(captions):
    lang, confidence = identify_languages(captions)
    assert len(lang) == len(confidence) == len(captions)
    assert lang.is_null().to_list() == confidence.is_null().to_list()
    assert lang.is_null().to_list() == [caption is None or not caption.strip() for caption in captions]
    assert confidence.drop_nulls().is_between(0.0, 1.0).all()
    alone = [identify_languages([caption])[0][0] for caption in captions]
    assert lang.to_list() == alone


def test_a_series_is_read_like_a_list():
    captions = ["A dog on a mat", None, "Eine Katze im Garten"]
    assert identify_languages(pl.Series(captions))[0].to_list() == identify_languages(captions)[0].to_list()


def test_nothing_gives_empty_columns_of_the_right_type():
    lang, confidence = identify_languages([])
    assert (lang.dtype, confidence.dtype, len(lang), len(confidence)) == (pl.String, pl.Float32, 0, 0)


def test_the_shipped_model_is_the_published_one():
    assert language_model_sha256() == "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
    assert language_model_sha256() == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()


def test_the_answers_are_those_of_the_model():
    model = fasttext.load_model(str(SHIPPED))
    captions = ["red bicycle", "12345", "Canon EOS 5D", "vintage affiche cinéma"]
    (label, *_), *_ = zip(*(model.predict(c) for c in captions), strict=True)
    lang, _ = identify_languages(captions)
    assert lang[0] == label[0].removeprefix("__label__")
    assert lang.to_list() == [model.predict(c)[0][0].split("__label__")[1] for c in captions]


def test_a_confidence_above_one_is_one(monkeypatch):
    class Sure:
        class f:
            predict = staticmethod(lambda *_: [(1.00001, "__label__en")])

    monkeypatch.setattr(language, "_load", lambda *_: Sure)
    assert identify_languages(["a"])[1].to_list() == [1.0]


def renamed(label: bytes) -> bytes:
    """The shipped model with another label in the place of ``en``."""
    content = SHIPPED.read_bytes()
    assert content.count(b"__label__en\0") == 1
    return content.replace(b"__label__en\0", b"__label__" + label + b"\0")


def test_a_model_of_ones_own_is_used_and_named_by_its_digest(tmp_path: Path):
    own = tmp_path / "own.ftz"
    own.write_bytes(renamed(b"q1"))
    settings = LanguageSettings(model=str(own))
    assert identify_languages(["A dog on the sofa"], settings)[0].to_list() == ["q1"]
    assert language_model_sha256(settings) == hashlib.sha256(own.read_bytes()).hexdigest()


def test_a_changed_file_is_read_again(tmp_path: Path):
    own = tmp_path / "own.ftz"
    settings = LanguageSettings(model=str(own))
    for changed, label in enumerate(("q1", "q2")):
        own.write_bytes(renamed(label.encode()))
        os.utime(own, (changed, changed))
        assert identify_languages(["A dog on the sofa"], settings)[0].to_list() == [label]
        assert language_model_sha256(settings) == hashlib.sha256(own.read_bytes()).hexdigest()


def test_the_model_is_loaded_once(monkeypatch):
    language._load.cache_clear()
    loads = []
    monkeypatch.setattr(fasttext, "load_model", lambda path, load=fasttext.load_model: loads.append(path) or load(path))
    for _ in range(3):
        identify_languages(["a"])
    assert loads == [str(SHIPPED)]


@pytest.mark.parametrize("length", [0, 10, 100, 900_000, 938_000])
def test_a_damaged_model_is_a_clear_error(tmp_path: Path, length: int):
    # Given to fastText, these end the process, take all its memory or answer wrongly.
    cut = tmp_path / "cut.ftz"
    cut.write_bytes(SHIPPED.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"^language model .*cut\.ftz: it is .*; name a fastText language model$"):
        identify_languages(["a"], LanguageSettings(model=str(cut)))


def test_missing_files_are_clear_errors(tmp_path: Path):
    with pytest.raises(ValueError, match="No such file or directory; name a fastText file"):
        identify_languages(["a"], LanguageSettings(model=str(tmp_path / "none.bin")))
    with pytest.raises(ValueError, match="is not a file"):
        language_model_sha256(LanguageSettings(model=str(tmp_path)))
    text = shutil.copy(__file__, tmp_path / "notes.bin")
    with pytest.raises(ValueError, match="it is no fastText model; name a fastText language model"):
        identify_languages(["a"], LanguageSettings(model=str(text)))
    with pytest.raises(ValueError, match="the path is empty"):
        LanguageSettings(model=" ")


@pytest.mark.real_data
def test_sentences_of_many_languages_are_told_apart(shared_data: Path):
    sample = pl.read_parquet(shared_data / "language_id" / "lingua_sample.parquet").filter(
        pl.col("kind") == "sentences"
    )
    known = sample.filter(pl.col("lang").is_in(["en", "de", "fr", "es", "ru", "ja", "zh", "ar", "pl", "fi"]))
    lang, _ = identify_languages(known["text"])
    assert known.height == 600
    assert (lang == known["lang"]).mean() > 0.9
