from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairmill.sharding.embeddings import (
    EmbeddingError,
    EmbeddingFile,
    EmbeddingFormat,
    describe_embeddings,
    embedding_path,
    map_embeddings,
    pack_fp16,
    read_descriptions,
    stored_rows,
    unpack_fp16,
    write_embeddings,
)

WHOLE = EmbeddingFormat()


def unit(rows: int, width: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def write(folder: Path, vectors: np.ndarray, format: EmbeddingFormat = WHOLE, *, cut: int = 3) -> EmbeddingFile:
    blocks = (vectors[start : start + cut] for start in range(0, len(vectors), cut))
    return write_embeddings(folder, "clip", "image", "train-00000-of-00001", blocks, len(vectors), format)


@given(arrays(np.float16, st.tuples(st.integers(0, 5), st.integers(1, 6)), elements={"allow_nan": False}), st.data())
def test_a_column_holds_what_was_packed(vectors: np.ndarray, data: st.DataObject) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    valid = finite & data.draw(arrays(np.bool_, len(vectors)))
    column = pack_fp16(vectors, valid)
    assert (column.dtype, column.null_count()) == (pl.Binary, int((~valid).sum()))
    back = unpack_fp16(column, vectors.shape[1])
    assert back.shape == vectors.shape
    assert back[valid].tobytes() == vectors[valid].tobytes()
    assert not back[~valid].any()
    if not finite.all():
        with pytest.raises(ValueError, match="not finite"):
            pack_fp16(vectors)


def test_a_column_survives_parquet(tmp_path: Path) -> None:
    vectors = unit(100, 16)
    pl.DataFrame({"e": pack_fp16(vectors, np.arange(100) % 7 > 0)}).write_parquet(tmp_path / "e.parquet")
    back = unpack_fp16(pl.read_parquet(tmp_path / "e.parquet")["e"], 16)
    assert np.array_equal(back[1:7], vectors[1:7])
    assert not back[::7].any()
    with pytest.raises(ValueError, match="holds 32 bytes where 8 dimensions need 16"):
        unpack_fp16(pack_fp16(vectors), 8)
    with pytest.raises(ValueError, match=r"mask has the shape \[?\(?3"):
        pack_fp16(vectors, np.ones(3, dtype=bool))


def test_the_file_is_a_plain_npy_of_the_same_vectors(tmp_path: Path) -> None:
    vectors = unit(10, 12)
    written = write(tmp_path, vectors)
    path = tmp_path / written.file.name
    assert written.file.name == "embeddings/clip/image/train-00000-of-00001.npy"
    data = path.read_bytes()
    assert (written.file.bytes, written.file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    loaded = np.load(path, allow_pickle=False)
    assert (loaded.dtype, loaded.shape, loaded.flags.c_contiguous) == (np.dtype("<f2"), (10, 12), True)
    assert loaded.tobytes() == vectors.tobytes()  # of length 1 already: bit for bit
    assert EmbeddingFile.from_dict(json.loads(json.dumps(written.to_dict()))) == written
    assert not [left for left in path.parent.iterdir() if left != path]


@given(st.integers(1, 10))
def test_the_bytes_do_not_depend_on_the_blocks(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    vectors = unit(10, 8) * np.float16(0.5)
    folder = tmp_path_factory.mktemp("cut")
    assert write(folder, vectors, cut=cut) == write(folder, vectors, cut=10)


def test_rows_without_embedding_are_zeros_and_listed(tmp_path: Path) -> None:
    vectors = unit(8, 8)
    vectors[2], vectors[5, 3], vectors[7, 0] = 0, np.nan, np.inf
    for encoding in ("float16", "binary"):
        written = write(tmp_path, vectors, EmbeddingFormat(encoding=encoding))
        stored = np.load(tmp_path / written.file.name)
        assert written.missing == (2, 5, 7)
        assert [i for i in range(8) if not stored[i].any()] == [2, 5, 7]


def test_first_dimensions_are_made_of_length_1_again(tmp_path: Path) -> None:
    vectors = unit(20, 32)
    written = write(tmp_path, vectors, EmbeddingFormat(dimensions=8))
    stored = np.load(tmp_path / written.file.name).astype(np.float64)
    cut = vectors[:, :8].astype(np.float64)
    assert stored.shape == (20, 8)
    assert np.allclose(stored, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=5e-4)
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-3)
    assert written.width == 32


def test_vectors_of_other_lengths_are_made_of_length_1() -> None:
    vectors = unit(6, 16).astype(np.float32) * np.array([1, 2, 0.01, 30, 1e-4, 1])[:, None]
    stored, absent = stored_rows(vectors, WHOLE)
    assert not absent.any()
    assert np.allclose(np.linalg.norm(stored.astype(np.float64), axis=1), 1, atol=1e-3)


@given(arrays(np.float16, (4, 24), elements=st.floats(-0.25, 0.25, width=16)), st.permutations(range(24)))
def test_stored_bits_do_not_depend_on_the_order_of_addition(vectors: np.ndarray, order: list[int]) -> None:
    straight, absent = stored_rows(vectors, WHOLE)
    mixed, absent_mixed = stored_rows(vectors[:, order], WHOLE)
    assert np.array_equal(absent, absent_mixed)
    assert straight[:, order].tobytes() == mixed.tobytes()


def test_binary_is_the_signs_as_numpy_packs_them(tmp_path: Path) -> None:
    vectors = unit(9, 24)
    written = write(tmp_path, vectors, EmbeddingFormat(dimensions=16, encoding="binary"))
    stored = np.load(tmp_path / written.file.name)
    assert (stored.dtype, stored.shape) == (np.uint8, (9, 2))
    assert np.array_equal(np.unpackbits(stored, axis=1).astype(bool), vectors[:, :16] > 0)


@pytest.mark.parametrize(
    ("format", "width", "message"),
    [
        (EmbeddingFormat(dimensions=64), 32, "64 asked for, the model's embeddings have 32"),
        (EmbeddingFormat(encoding="binary"), 12, "12 bits fill no whole number of bytes"),
    ],
)
def test_a_format_that_does_not_fit(tmp_path: Path, format: EmbeddingFormat, width: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path, unit(3, width), format)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("wrong", [{"dimensions": 0}, {"dimensions": -4}, {"encoding": "int8"}])
def test_a_format_that_cannot_be(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EmbeddingFormat(**wrong)


def test_wrong_vectors_leave_nothing_behind(tmp_path: Path) -> None:
    good = unit(4, 8)
    told = (tmp_path, "clip", "image", "s")
    with pytest.raises(ValueError, match="has 5 samples, and 4 embeddings"):
        write_embeddings(*told, [good], 5, WHOLE)
    with pytest.raises(ValueError, match="have 8 dimensions, then 6"):
        write_embeddings(*told, [good, unit(1, 6)], 5, WHOLE)
    with pytest.raises(ValueError, match="no samples"):
        write_embeddings(*told, [], 0, WHOLE)
    with pytest.raises(ValueError, match="come as an array"):
        write_embeddings(*told, [good[0]], 8, WHOLE)
    with pytest.raises(ValueError, match="cannot name a folder"):
        write_embeddings(tmp_path, "../clip", "image", "s", [good], 4, WHOLE)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_description_comes_back(tmp_path: Path) -> None:
    vectors = unit(6, 16)
    vectors[4] = 0
    format = EmbeddingFormat(dimensions=8)
    written = [
        write_embeddings(tmp_path, "clip", "image", f"train-{i}", [vectors[i:]], 6 - i, format) for i in range(2)
    ]
    file = describe_embeddings(tmp_path, "clip", "image", written, format, {"model": "tiny", "sha256": "ab"})
    assert file.name == "embeddings/clip/image.json"
    (told,) = read_descriptions(tmp_path)
    assert (told.scorer, told.kind, told.dimensions, told.width, told.samples) == ("clip", "image", 8, 16, 11)
    assert told.missing == {"train-0": (4,), "train-1": (3,)}
    assert told.model == {"model": "tiny", "sha256": "ab"}
    array = map_embeddings(tmp_path, told, "train-1", 5)
    assert isinstance(array, np.memmap)
    assert array.shape == (5, 8)
    with pytest.raises(EmbeddingError, match=r"holds float16 \[5, 8\], not float16 \[6, 8\]"):
        map_embeddings(tmp_path, told, "train-1", 6)
    with pytest.raises(EmbeddingError, match=r"train-9\.npy is missing"):
        map_embeddings(tmp_path, told, "train-9", 6)
    widths = [written[0], write_embeddings(tmp_path, "clip", "image", "x", [unit(1, 8)], 1, format)]
    with pytest.raises(ValueError, match="8 and 16 dimensions"):
        describe_embeddings(tmp_path, "clip", "image", widths, format, {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": "other"}',
        b'{"format": "pairmill-embeddings", "format_version": 9}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_description_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "embeddings" / "clip" / "image.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(EmbeddingError, match=r"image\.json is damaged") as told:
        read_descriptions(tmp_path)
    assert "\n" not in str(told.value)


def test_a_pickled_array_is_not_unpickled(tmp_path: Path) -> None:
    format = EmbeddingFormat()
    describe_embeddings(tmp_path, "clip", "image", [write(tmp_path, unit(2, 8))], format, {})
    (told,) = read_descriptions(tmp_path)
    path = embedding_path(tmp_path, "clip", "image", "train-00000-of-00001")
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    with pytest.raises(EmbeddingError, match="cannot be read"):
        map_embeddings(tmp_path, told, "train-00000-of-00001", 2)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(EmbeddingError, match="cannot be read"):
        map_embeddings(tmp_path, told, "train-00000-of-00001", 2)
