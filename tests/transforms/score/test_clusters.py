"""Nearest centroids as DataComp's image_based finds them, and its baselines over whole rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from pairmill.filters.datacomp import ImageBased, ImageBasedClipScore
from pairmill.filters.verdict import first_reason
from pairmill.transforms.language import identify_languages
from pairmill.transforms.score import clusters as module
from pairmill.transforms.score.clusters import ClusterScorer, nearest_centroids, read_vectors, target_clusters
from pairmill.transforms.score.columns import finished, item_columns, why_absent
from pairmill.transforms.score.measured_items import MeasuredItems

torch = pytest.importorskip("torch")
WIDTH = 24


def vectors(rows: int, seed: int, width: int = WIDTH) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def datacomp_labels(features: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32]) -> list[int]:
    """``get_centroid_ids_gpu`` (baselines/apply_filter.py), said again on the CPU."""
    similarity = torch.einsum("ik, jk -> ij", torch.from_numpy(features).float(), torch.from_numpy(centroids))
    labels: list[int] = torch.argmax(similarity, dim=1).tolist()
    return labels


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 1000])
def test_the_labels_are_those_of_datacomp(rows: int) -> None:
    features, centroids = vectors(rows, 1), vectors(300, 2)
    assert nearest_centroids(features, centroids).tolist() == (datacomp_labels(features, centroids) if rows else [])
    halves = features.astype(np.float16)
    assert nearest_centroids(halves, centroids).tolist() == (
        datacomp_labels(halves.astype(np.float32), centroids) if rows else []
    )


def test_batches_of_centroids_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, centroids = vectors(300, 1), vectors(300, 2)
    expected = nearest_centroids(features, centroids).tolist()
    monkeypatch.setattr(module, "BATCH_CENTROIDS", 7)
    assert nearest_centroids(features, centroids).tolist() == expected


def test_a_row_does_not_depend_on_the_others() -> None:
    features, centroids = vectors(700, 3), vectors(64, 4)
    expected = nearest_centroids(features, centroids)
    order = np.random.default_rng(0).permutation(700)
    assert (nearest_centroids(features[order], centroids) == expected[order]).all()
    assert [nearest_centroids(features[i : i + 1], centroids)[0] for i in range(0, 700, 50)] == expected[::50].tolist()


def test_the_length_of_a_row_does_not_matter_and_of_equal_centroids_the_first_counts() -> None:
    features, centroids = vectors(50, 5), vectors(20, 6)
    assert (nearest_centroids(features * 8, centroids) == nearest_centroids(features, centroids)).all()
    twice = np.concatenate([centroids, centroids])
    assert (nearest_centroids(features, twice) == nearest_centroids(features, centroids)).all()


def test_what_is_not_finite_has_no_cluster() -> None:
    features, centroids = vectors(5, 7), vectors(4, 8)
    expected = nearest_centroids(features, centroids)
    features[1, 3], features[3, 0] = np.nan, np.inf
    found = nearest_centroids(features, centroids)
    assert found[[1, 3]].tolist() == [-1, -1]
    assert (found[[0, 2, 4]] == expected[[0, 2, 4]]).all()
    assert -1 not in target_clusters(features, centroids)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"embeddings of shape \(3, 24\) and centroids of \(2, 5\) do not fit"):
        nearest_centroids(vectors(3, 1), vectors(2, 1, 5))


def test_what_datacomp_publishes_is_read(tmp_path: Path) -> None:
    """References: dicts of tensors. Centroids are arrays that torch pickled, of which only the remedy is told."""
    from safetensors.numpy import save_file

    array = vectors(6, 9)
    torch.save(array, tmp_path / "centroids.pt", pickle_protocol=4)
    with pytest.raises(ValueError, match="holds more than tensors, which is not unpickled; if you trust it, save its"):
        read_vectors(tmp_path / "centroids.pt")
    torch.save({"image_features": torch.from_numpy(array).half(), "labels": torch.zeros(6)}, tmp_path / "in1k.pt")
    torch.save(torch.from_numpy(array), tmp_path / "tensor.pt")
    np.save(tmp_path / "centroids.npy", array)
    save_file({"centroids": array}, tmp_path / "centroids.safetensors")
    for name in ("tensor.pt", "centroids.npy", "centroids.safetensors"):
        assert (read_vectors(tmp_path / name) == array).all()
    assert (read_vectors(tmp_path / "in1k.pt") == array.astype(np.float16)).all()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled",))


def test_nothing_else_is_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(Evil(), tmp_path / "evil.pt")
    np.save(tmp_path / "evil.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    for name in ("evil.pt", "evil.npy"):
        with pytest.raises(ValueError, match=f"^{tmp_path / name}: ") as caught:
            read_vectors(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_wrong_files(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(3))
    np.save(tmp_path / "nan.npy", np.full((2, 2), np.nan))
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04")
    torch.save({"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}, tmp_path / "two.pt")
    for name, told in [("flat.npy", "of shape"), ("nan.npy", "finite"), ("torn.pt", ""), ("none.npy", "No such file"),
                       ("two.pt", r"holds 2 arrays \(a, b\) and none is image_features")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{tmp_path / name}: .*{told}"):
            read_vectors(tmp_path / name)


def test_the_scorer_writes_the_column_that_the_rule_reads(tmp_path: Path) -> None:
    centroids = vectors(10, 1)
    np.save(tmp_path / "centroids.npy", centroids)
    scorer = ClusterScorer(on="clip", centroids=str(tmp_path / "centroids.npy"))
    assert list(scorer.columns("image")) == ["image_cluster", "image_outcome"]
    assert scorer.embedder == "clip"
    assert scorer.identity()["clusters"] == 10
    features = vectors(20, 2)
    scores = scorer.load("cpu", "fp32").score(features)  # type: ignore[union-attr,arg-type]
    assert scores["cluster"].dtype == np.uint32
    assert scores["cluster"].tolist() == datacomp_labels(features, centroids)
    items = MeasuredItems(20)
    items.put(np.arange(20), scores)
    of_row = np.array([3, -1, 3, 0])
    columns = item_columns("image", items, of_row, why_absent(of_row, "no_image"))
    frame = finished(scorer, "image", pl.Series(range(4), dtype=pl.UInt64), columns)
    third = int(scores["cluster"][3])
    assert frame["image_cluster"].to_list() == [third, None, third, int(scores["cluster"][0])]
    assert frame["image_outcome"].to_list() == [None, "no_image", None, None]
    assert frame.schema["image_cluster"] == pl.UInt32
    np.save(tmp_path / "centroids.npy", vectors(11, 1))
    assert ClusterScorer(on="clip", centroids=str(tmp_path / "centroids.npy")).identity() != scorer
    with pytest.raises(ValueError, match="cluster: on is empty; name a scorer"):
        ClusterScorer(on=" ", centroids="x")


def fasttext_tokens(text: str) -> int:
    """How many tokens ``fasttext.tokenize`` gives: Dictionary::readWord of its C++ code."""
    count, word = 0, False
    for char in text:
        if char in " \n\r\t\v\f\0":
            count += word
            word = False
            count += char == "\n"  # the word </s>
        else:
            word = True
    return count + word


def test_fasttext_tokens_are_those_of_fasttext() -> None:
    floret = pytest.importorskip("floret")  # fastText's own code, with its tokenizer
    for text in ["", "a", " a  b\tc\r\n", "\n\n", "a\x00b\x0bc\x0cd", "a\u3000b \x85 c\n d", "</s> x\n"]:
        assert fasttext_tokens(text) == len(floret.tokenize(text))


@pytest.mark.real_data
def test_image_based_is_row_equal_on_real_web_captions(shared_data: Path) -> None:
    captions = pl.read_parquet(shared_data / "alt_text" / "laion_style_10000.parquet")["TEXT"].to_list()
    captions[::500] = ["\n\n\n\n\n\n"] * len(captions[::500])  # six tokens and six characters to DataComp
    captions[1::500] = ["Hello\n"] * len(captions[1::500])
    captions[2::500] = ["words\u3000only"] * len(captions[2::500])
    features, centroids = vectors(len(captions), 1), vectors(50, 2)
    targets = target_clusters(vectors(30, 3), centroids)
    scores = np.random.default_rng(4).random(len(captions)).astype(np.float32)
    scores[::7] = np.nan
    langs = identify_languages(captions)[0]
    labels = datacomp_labels(features, centroids)
    wanted = set(torch.unique(torch.tensor(datacomp_labels(vectors(30, 3), centroids))).tolist())
    assert wanted == set(targets.tolist())

    def caption_filter(text: str, lang: str | None) -> bool:  # blank texts are English to the model
        return (lang or "en") == "en" and fasttext_tokens(text) > 1 and len(text) > 5

    image_based = [
        caption_filter(text, lang) and label in wanted
        for text, lang, label in zip(captions, langs.to_list(), labels, strict=True)
    ]
    frame = pl.DataFrame(
        {"caption": captions, "lang": langs, "clip_b32_similarity_score": scores,
         "image_cluster": nearest_centroids(features, centroids)}
    )  # fmt: skip
    clusters = tuple(targets.tolist())
    kept = first_reason(ImageBased(clusters=clusters).rules(), frame).is_null().to_list()
    assert kept == image_based
    assert 500 < sum(kept) < 9_000
    both = ImageBasedClipScore(clusters=clusters, threshold=0.25)
    kept = first_reason(both.rules(), frame).is_null().to_list()
    assert kept == [image and bool(score >= np.float32(0.25)) for image, score in zip(image_based, scores, strict=True)]
    assert 500 < sum(kept) < sum(image_based)
