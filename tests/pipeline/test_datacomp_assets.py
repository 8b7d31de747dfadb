from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairmill.pipeline.datacomp_assets import main
from pairmill.transforms.score.clusters import nearest_centroids


def wordnet(folder: Path) -> Path:
    folder.mkdir()
    for part, letter in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
        lines = ["dog n 1 1 @ 1 1 02084071", "cat n 1 0 1 0 02121620"] if letter == "n" else []
        (folder / f"index.{part}").write_text("".join(f"{line}  \n" for line in lines))
        (folder / f"{part}.exc").write_text("")
    return folder


def test_the_words_of_synsets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ids.txt").write_text("n02084071\n")
    arguments = ["--wordnet", str(wordnet(tmp_path / "dict")), "--synsets", str(tmp_path / "ids.txt")]
    assert main(["words", *arguments, "--out", str(tmp_path / "words.txt")]) == 0
    words = (tmp_path / "words.txt").read_text().splitlines()
    assert words[:3] == ["dog", "dogs", "dogses"]
    assert "cat" not in words
    assert f"words.txt: {len(words)} words" in capsys.readouterr().out


def test_the_clusters_of_references(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centroids, one, two = (rng.standard_normal((rows, 8)).astype(np.float32) for rows in (40, 9, 5))
    for name, array in (("centroids", centroids), ("one", one), ("two", two)):
        np.save(tmp_path / f"{name}.npy", array)
    references = [str(tmp_path / "one.npy"), str(tmp_path / "two.npy")]
    out = tmp_path / "clusters.txt"
    assert (
        main(
            ["clusters", "--references", *references, "--centroids", str(tmp_path / "centroids.npy"), "--out", str(out)]
        )
        == 0
    )
    expected = sorted({*nearest_centroids(one, centroids).tolist(), *nearest_centroids(two, centroids).tolist()})
    assert list(map(int, out.read_text().split())) == expected


def test_what_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out.txt")]
    assert main(["words", "--wordnet", str(tmp_path / "none"), "--synsets", "x", *out]) == 2
    assert main(["clusters", "--references", "x.npy", "--centroids", str(tmp_path / "none.npy"), *out]) == 2
    np.save(tmp_path / "wide.npy", np.ones((2, 9)))
    np.save(tmp_path / "narrow.npy", np.ones((2, 8)))
    wrong = ["--references", str(tmp_path / "wide.npy"), "--centroids", str(tmp_path / "narrow.npy")]
    assert main(["clusters", *wrong, *out]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    assert all(line.startswith("datacomp_assets: ") for line in told)
    assert "wide.npy has vectors of 9 numbers" in told[2]
    assert not (tmp_path / "out.txt").exists()
