from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairmill.sharding.embeddings import EmbeddingFormat, describe_embeddings, embedding_path, write_embeddings
from pairmill.sharding.manifest import read_manifest, sum_other_files, write_manifest
from pairmill.sharding.stats_cli import main

SHARD = "train-00001-of-00003"
NAME = f"embeddings/clip/image/{SHARD}.npy"


def seal(folder: Path) -> None:
    """Name every file of the folder in its manifest, as it is now."""
    write_manifest(folder, replace(read_manifest(folder), files=sum_other_files(folder, {})))


def embed(folder: Path, kind: str, format: EmbeddingFormat) -> None:
    written = []
    for number, (shard, samples) in enumerate(read_manifest(folder).shards.items()):
        vectors = np.random.default_rng(number).standard_normal((samples, 32))
        vectors[1] = 0
        written.append(write_embeddings(folder, "clip", kind, shard, [vectors], samples, format))
    describe_embeddings(folder, "clip", kind, written, format, {"model": "tiny"})


@pytest.fixture
def embedded(dataset: Path) -> Path:
    embed(dataset, "image", EmbeddingFormat())
    embed(dataset, "text", EmbeddingFormat(dimensions=16, encoding="binary"))
    seal(dataset)
    return dataset


def verify(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    code = main([str(folder), "--json", "--verify", *options])
    return code, json.loads(capsys.readouterr().out)


def test_shard_stats_tells_of_embeddings(embedded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = verify(embedded, capsys)
    assert (code, found["faults"]) == (0, [])
    assert found["embeddings"] == [
        {"scorer": "clip", "kind": "image", "encoding": "float16", "dimensions": 32, "samples": 30, "missing": 5},
        {"scorer": "clip", "kind": "text", "encoding": "binary", "dimensions": 16, "samples": 30, "missing": 5},
    ]
    assert main([str(embedded)]) == 0
    table = capsys.readouterr().out
    assert ["clip", "image", "float16", "32", "30", "5"] in [line.split() for line in table.splitlines()]


def test_a_dataset_without_embeddings(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(written, capsys)[1]["embeddings"] == []


def test_one_split(embedded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embedding_path(embedded, "clip", "image", SHARD).write_bytes(b"")
    assert verify(embedded, capsys, "--splits", "val")[0] == 0
    assert verify(embedded, capsys, "--splits", "train")[0] == 1


def test_a_changed_file_is_told_by_its_sum(embedded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = embedded / NAME
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x40
    path.write_bytes(data)
    code, found = verify(embedded, capsys)
    assert code == 1
    assert [fault["file"] for fault in found["faults"]] == [NAME]
    assert "sha256" in found["faults"][0]["what"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("gone", "is missing"),
        ("short", "holds float16 [7, 32], not float16 [8, 32]"),
        ("float32", "holds float32 [8, 32], not float16 [8, 32]"),
        ("fortran", "holds float16 [8, 32] in Fortran order, not float16 [8, 32]"),
        ("text", "cannot be read: "),
        ("long", "row 2 is not of length 1, and not listed as missing"),
        ("nan", "row 3 is not of length 1, and not listed as missing"),
        ("zeros", "row 4 is not of length 1, and not listed as missing"),
        ("filled", "row 1 has an embedding, though missing"),
    ],
)
def test_what_the_manifest_names_but_is_wrong(
    embedded: Path, capsys: pytest.CaptureFixture[str], damage: str, told: str
) -> None:
    path = embedded / NAME
    vectors = np.load(path)
    if damage == "gone":
        path.unlink()
    elif damage == "text":
        path.write_text("no array")
    elif damage == "short":
        np.save(path, vectors[:7])
    elif damage == "float32":
        np.save(path, vectors.astype(np.float32))
    elif damage == "fortran":
        np.save(path, np.asfortranarray(vectors))
    else:
        row, value = {"long": (2, vectors[2] * 2), "nan": (3, np.nan), "zeros": (4, 0), "filled": (1, 0.25)}[damage]
        vectors[row] = value
        np.save(path, vectors)
    seal(embedded)
    code, found = verify(embedded, capsys)
    assert code == 1
    (fault,) = found["faults"]
    assert fault["file"] == NAME
    assert fault["what"].startswith(told)
    assert "\n" not in fault["what"]


@pytest.mark.parametrize("missing", [{SHARD: [1, 8]}, {SHARD: [-1]}])
def test_missing_rows_that_are_not_there(
    embedded: Path, capsys: pytest.CaptureFixture[str], missing: dict[str, list[int]]
) -> None:
    path = embedded / "embeddings" / "clip" / "image.json"
    data = json.loads(path.read_text())
    data["missing"] |= missing
    path.write_text(json.dumps(data))
    seal(embedded)
    code, found = verify(embedded, capsys)
    assert code == 1
    assert [fault["file"] for fault in found["faults"]] == [NAME]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": "x", "format_version": 1}', b"[1]", b"\xff"])
def test_a_damaged_description_is_told_with_and_without_verify(
    embedded: Path, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    (embedded / "embeddings" / "clip" / "image.json").write_bytes(data)
    seal(embedded)
    for options in (["--json"], ["--json", "--verify"]):
        assert main([str(embedded), *options]) == 1
        found = json.loads(capsys.readouterr().out)
        assert [fault["file"] for fault in found["faults"]] == ["embeddings/clip/image.json"]
        assert [told["kind"] for told in found["embeddings"]] == ["text"]
