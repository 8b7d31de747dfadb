from __future__ import annotations

import builtins
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairmill.sharding.embeddings import EmbeddingFormat, describe_embeddings, write_embeddings
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.nearest import Embeddings, nearest_exact, query_vector, read_embeddings
from pairmill.sharding.nearest_index import build_index, index_path, open_index

pytest.importorskip("usearch")

SHARDS = {"train-00000-of-00002": 1500, "train-00001-of-00002": 1400}
MISSING = (3, 700)
MANIFEST = hashlib.sha256(b"manifest").hexdigest()


def draw(rows: int, seed: int, centre: float = 1.0) -> np.ndarray:
    """Vectors with the shape of a model's embeddings: a common part, few directions that matter, some noise."""
    world = np.random.default_rng(0)
    directions, common = world.standard_normal((24, 64)), world.standard_normal(64)
    mine = np.random.default_rng(seed)
    return mine.standard_normal((rows, 24)) @ directions + 3 * centre * common + mine.standard_normal((rows, 64))


def embedded(folder: Path, format: EmbeddingFormat, kind: str = "image", centre: float = 1.0) -> Embeddings:
    written = []
    for number, (shard, samples) in enumerate(SHARDS.items()):
        vectors = draw(samples, number + 1, centre)
        vectors[list(MISSING)] = 0
        written.append(write_embeddings(folder, "clip", kind, shard, [vectors], samples, format))
    describe_embeddings(folder, "clip", kind, written, format, {})
    return read_embeddings(folder, "clip", kind, SHARDS)


FORMATS = {"whole": EmbeddingFormat(), "cut": EmbeddingFormat(dimensions=32), "binary": EmbeddingFormat(None, "binary")}


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_recall_against_exact_search(tmp_path: Path, format: EmbeddingFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairmill.sharding.nearest_index.EXPANSIONS", (16, 32, 64, 128, 256))  # there are few rows
    found = embedded(tmp_path / "dataset", format)
    built = build_index(found, tmp_path / "index", MANIFEST)
    index = open_index(tmp_path / "index", found, MANIFEST)
    assert index is not None
    assert index.facts == built.facts
    assert (index.facts.rows, index.facts.queries) == (2896, 100)
    # Asked with what the index was not tuned on, too: vectors of another centre, as texts are to images.
    for centre in (1.0, -0.5):
        queries = np.stack([query_vector(q, found.told) for q in draw(50, 99, centre)])
        met = []
        for query, true in zip(queries, nearest_exact(found, queries, 10), strict=True):
            near = index.search(found, query, 10)
            assert len(near) == 10
            assert not {one.row for one in near} & {3, 700, 1503, 2200}
            met.append(sum(one.similarity >= true[-1].similarity - 1e-5 for one in near) / 10)
        assert np.mean(met) >= 0.95, centre
    assert index.facts.recall >= 0.98


def test_the_recall_is_measured_with_what_will_be_asked(tmp_path: Path) -> None:
    images = embedded(tmp_path / "dataset", EmbeddingFormat())
    texts = embedded(tmp_path / "dataset", EmbeddingFormat(), "text", centre=-0.5)
    built = build_index(images, tmp_path / "index", MANIFEST, texts)
    assert (built.facts.queries_kind, built.facts.kind) == ("text", "image")
    assert json.loads(built.path.with_suffix(".json").read_text())["recall"] == built.facts.recall


def test_another_dataset_has_no_index_until_it_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    found = embedded(tmp_path / "dataset", EmbeddingFormat())
    build_index(found, folder, MANIFEST)
    assert open_index(folder, found, "0" * 64) is None
    build_index(found, folder, "0" * 64)
    assert open_index(folder, found, MANIFEST) is None  # the old one is gone
    assert len(list(folder.iterdir())) == 2
    assert open_index(tmp_path / "elsewhere", found, MANIFEST) is None


def test_a_damaged_index_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    found = embedded(tmp_path / "dataset", EmbeddingFormat())
    built = build_index(found, folder, MANIFEST)
    whole, told = built.path.read_bytes(), built.path.with_suffix(".json").read_bytes()
    for file, data in (
        (built.path, whole[: len(whole) // 2]),
        (built.path, b""),
        (built.path, bytes(1000)),
        (built.path.with_suffix(".json"), b"{}"),
        (built.path.with_suffix(".json"), told.replace(MANIFEST.encode(), b"1" * 64)),
    ):
        built.path.write_bytes(whole)
        built.path.with_suffix(".json").write_bytes(told)
        file.write_bytes(data)
        with pytest.raises(PairmillError, match="is damaged; remove it"):
            open_index(folder, found, MANIFEST)


def test_embeddings_that_no_graph_can_hold_are_not_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = embedded(tmp_path / "dataset", EmbeddingFormat())
    monkeypatch.setattr("pairmill.sharding.nearest_index.EXPANSIONS", (1,))
    monkeypatch.setattr("pairmill.sharding.nearest_index.OVERSAMPLING", {"i8": 1})
    monkeypatch.setattr("pairmill.sharding.nearest_index.RECALL_LEAST", 1.01)
    with pytest.raises(PairmillError, match="of the ten nearest, asked with image embeddings; it is not kept"):
        build_index(found, tmp_path / "index", MANIFEST)
    assert not (tmp_path / "index").exists()


def test_no_embedding_at_all(tmp_path: Path) -> None:
    written = write_embeddings(tmp_path, "clip", "image", "train", [np.zeros((4, 8))], 4, EmbeddingFormat())
    describe_embeddings(tmp_path, "clip", "image", [written], EmbeddingFormat(), {})
    found = read_embeddings(tmp_path, "clip", "image", {"train": 4})
    with pytest.raises(UsageError, match="none of the 4 samples"):
        build_index(found, tmp_path / "index", MANIFEST)
    assert nearest_exact(found, np.ones((1, 8), dtype=np.float32), 3) == [[]]


def test_a_full_disk_leaves_no_half_of_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from usearch.index import Index

    def save(self: Any, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(Index, "save", save)
    found = embedded(tmp_path / "dataset", EmbeddingFormat())
    with pytest.raises(PairmillError, match="cannot be written: No space left"):
        build_index(found, tmp_path / "index", MANIFEST)
    assert not list((tmp_path / "index").iterdir())
    assert open_index(tmp_path / "index", found, MANIFEST) is None


def test_usearch_is_named_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "usearch":
            raise ModuleNotFoundError("No module named 'usearch'", name="usearch")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    found = embedded(tmp_path / "dataset", EmbeddingFormat())
    with pytest.raises(UsageError, match=r"pip install 'pairmill\[models\]'"):
        build_index(found, tmp_path / "index", MANIFEST)
    assert open_index(tmp_path / "index", found, MANIFEST) is None
    assert index_path(tmp_path, "clip", "image", MANIFEST).name == f"clip-image-{MANIFEST[:16]}.usearch"
