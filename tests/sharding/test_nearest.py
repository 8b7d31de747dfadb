from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.embeddings import (
    EmbeddingError,
    EmbeddingFormat,
    EmbeddingSet,
    describe_embeddings,
    write_embeddings,
)
from pairmill.sharding.nearest import Embeddings, Place, nearest_exact, nearest_of, query_vector, read_embeddings

SHARDS = {"train-00000-of-00002": 40, "train-00001-of-00002": 35, "val-00000-of-00001": 25}
MISSING = (0, 39, 40, 74, 99)


def vectors(width: int = 32, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((sum(SHARDS.values()), width))
    drawn[list(MISSING)] = 0
    return drawn


def embedded(folder: Path, drawn: np.ndarray, format: EmbeddingFormat = EmbeddingFormat()) -> Embeddings:  # noqa: B008
    start = 0
    written = []
    for shard, samples in SHARDS.items():
        written.append(
            write_embeddings(folder, "clip", "image", shard, [drawn[start : start + samples]], samples, format)
        )
        start += samples
    describe_embeddings(folder, "clip", "image", written, format, {})
    return read_embeddings(folder, "clip", "image", SHARDS)


FORMATS = {
    "whole": EmbeddingFormat(),
    "cut": EmbeddingFormat(dimensions=16),
    "binary": EmbeddingFormat(encoding="binary"),
}


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_exact_search_is_the_sorted_cosines(tmp_path: Path, format: EmbeddingFormat) -> None:
    drawn = vectors()
    found = embedded(tmp_path, drawn, format)
    queries = np.stack([query_vector(q, found.told) for q in np.random.default_rng(1).standard_normal((3, 32))])
    cut = drawn[:, : found.told.dimensions]
    compared = np.where(cut > 0, 1.0, -1.0) if format.encoding == "binary" else cut
    lengths = np.linalg.norm(compared, axis=1)
    cosines = (compared / np.where(lengths > 0, lengths, 1)[:, None]) @ queries.T
    cosines[list(MISSING)] = -np.inf
    for number, nearest in enumerate(nearest_exact(found, queries, 7)):
        true = np.sort(cosines[:, number])[::-1][:7]
        assert [one.similarity for one in nearest] == pytest.approx(true, abs=2e-3)
        assert [cosines[one.row, number] for one in nearest] == pytest.approx(true, abs=2e-3)
        assert nearest_of(found, queries[number], np.arange(100), 7) == [
            (one.row, pytest.approx(one.similarity, abs=1e-5)) for one in nearest
        ]


@given(block=st.integers(1, 50), top=st.integers(1, 120))
def test_blocks_change_nothing(tmp_path_factory: pytest.TempPathFactory, block: int, top: int) -> None:
    found = embedded(tmp_path_factory.mktemp("blocks"), vectors(8))
    query = query_vector(np.arange(1, 9), found.told)[None]
    with pytest.MonkeyPatch.context() as patch:
        whole = nearest_exact(found, query, top)[0]
        blocks = list(found.blocks(block))
        patch.setattr(Embeddings, "blocks", lambda _: iter(blocks))
        cut = nearest_exact(found, query, top)[0]
    assert len(whole) == len(cut) == min(top, 100 - len(MISSING))
    assert not {one.row for one in whole} & set(MISSING)
    assert [one.similarity for one in cut] == pytest.approx([one.similarity for one in whole], abs=1e-6)
    assert all(a.similarity >= b.similarity for a, b in pairwise(cut))


def test_equal_rows_come_in_their_order(tmp_path: Path) -> None:
    drawn = np.ones((100, 8))
    found = embedded(tmp_path, drawn)
    nearest = nearest_exact(found, query_vector(np.ones(8), found.told)[None], 12)[0]
    assert [one.row for one in nearest] == list(range(12))
    assert [one.similarity for one in nearest] == pytest.approx([1.0] * 12, abs=1e-3)


def test_places_and_rows(tmp_path: Path) -> None:
    drawn = vectors(8)
    found = embedded(tmp_path, drawn)
    assert found.place(0) == Place("train-00000-of-00002", 0)
    assert found.place(74) == Place("train-00001-of-00002", 34)
    assert found.place(75) == Place("val-00000-of-00001", 0)
    for wrong in (-1, 100):
        with pytest.raises(IndexError):
            found.place(wrong)
    assert found.missing().tolist() == list(MISSING)
    taken = found.take(np.array([99, 3, 41, 3]))
    assert not taken[0].any()
    assert np.array_equal(taken[1], taken[3])
    assert np.array_equal(taken[2], found.arrays[1][1])


def test_a_query_that_cannot_be_asked() -> None:
    told = EmbeddingSet("clip", "image", "float16", 8, 16, 1, {}, {})
    assert np.allclose(query_vector(np.arange(16), told), np.arange(8) / np.linalg.norm(np.arange(8)))
    for wrong, message in (
        (np.ones(8), "query has 8 dimensions, the embeddings of clip have 16"),
        (np.zeros(16), "no embedding"),
        (np.full(16, np.nan), "no embedding"),
    ):
        with pytest.raises(ValueError, match=message):
            query_vector(wrong, told)


def test_embeddings_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="no embeddings of clip image; there are: none"):
        read_embeddings(tmp_path, "clip", "image", SHARDS)
    embedded(tmp_path, vectors())
    with pytest.raises(EmbeddingError, match="no embeddings of clip text; there are: clip image"):
        read_embeddings(tmp_path, "clip", "text", SHARDS)
    (tmp_path / "embeddings" / "clip" / "image" / "val-00000-of-00001.npy").unlink()
    with pytest.raises(EmbeddingError, match=r"val-00000-of-00001\.npy is missing"):
        read_embeddings(tmp_path, "clip", "image", SHARDS)
