"""The written dataset as trainers' own readers see it."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

wds = pytest.importorskip("webdataset")


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Hugging Face ``datasets``, offline and with its caches in a temporary folder."""
    datasets = pytest.importorskip("datasets")
    cache = str(tmp_path_factory.mktemp("hf"))

    def load(*arguments: str, **more: Any) -> Any:
        return datasets.load_dataset(*arguments, cache_dir=cache, **more)

    offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    yield load
    datasets.config.HF_HUB_OFFLINE = offline


def test_webdataset(written: Path, table: pl.DataFrame) -> None:
    rows = {row["key"]: row for row in table.iter_rows(named=True)}
    shards = str(written / "train-{00000..00002}-of-00003.tar")
    samples = list(wds.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == table.filter(pl.col("split") == "train")["key"].to_list()
    for sample in samples:
        row = rows[sample["__key__"]]
        assert {name for name in sample if not name.startswith("__")} == {"jpg", "txt", "json"}
        assert sample["txt"] == row["caption"]
        assert sample["jpg"].size == (row["width"], row["height"]) == (sample["json"]["width"], 40)
        assert sample["json"]["phash"] == f"{row['phash']:016x}"


def test_wids_index_points_at_readable_shards(written: Path) -> None:
    for name, samples in (("shardindex.json", 24), ("shardindex-val.json", 6)):
        shards = json.loads((written / name).read_text())["shardlist"]
        counted = [len(list(wds.WebDataset(str(written / shard["url"]), shardshuffle=False))) for shard in shards]
        assert counted == [shard["nsamples"] for shard in shards]
        assert sum(counted) == samples


def test_hugging_face_webdataset_builder(written: Path, table: pl.DataFrame, hf: Any) -> None:
    loaded = hf("webdataset", data_files={"train": str(written / "train-*.tar")}, split="train")
    expected = table.filter(pl.col("split") == "train")
    assert loaded["__key__"] == expected["key"].to_list()
    assert loaded["txt"] == expected["caption"].to_list()
    records = loaded["json"]
    assert [record["score"] for record in records] == [score or 0.0 for score in expected["score"]]
    assert [record["pool_id"] for record in records] == [-1 if i is None else i for i in expected["pool_id"]]
    assert [record["url"] for record in records] == [url or "" for url in expected["url"]]
    assert [record["reencoded"] for record in records] == [bool(value) for value in expected["reencoded"]]
    assert list(records[0]) == expected.drop("shard", "index", "split", "thumbnail").columns
    assert loaded[0]["jpg"].size == (20, 40)


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_loads_the_folder(written: Path, hf: Any, streaming: bool) -> None:
    """The front matter keeps Energon's .tar.idx files from being taken for tars."""
    loaded = hf(str(written), streaming=streaming)
    assert {split: sum(1 for _ in rows) for split, rows in loaded.items()} == {"train": 24, "val": 6}


def test_energon_offsets_lead_to_the_samples(written: Path) -> None:
    """A sample is cut out of the tar by Energon's index alone, as its reader does."""
    import struct
    import tarfile

    content = (written / "val-00000-of-00002.tar").read_bytes()
    index = (written / "val-00000-of-00002.tar.idx").read_bytes()
    offsets = struct.unpack(f"<{len(index) // 8}Q", index)
    for start, stop in pairwise(offsets):
        with tarfile.open(fileobj=io.BytesIO(content[start:stop] + bytes(1024))) as tar:
            names = tar.getnames()
            assert [name.split(".")[1] for name in names] == ["jpg", "txt", "json"]
            image = tar.extractfile(names[0])
            assert image is not None
            assert Image.open(image).format == "JPEG"
    assert len(offsets) == 4


def test_dali_offsets_lead_to_the_members(written: Path) -> None:
    content = (written / "val-00001-of-00002.tar").read_bytes()
    head, *lines = (written / "val-00001-of-00002.idx").read_text().splitlines()
    assert head == f"v1.2 {len(lines)}" == "v1.2 3"
    for line in lines:
        words = line.split(" ")
        members = {words[i]: content[int(words[i + 1]) :][: int(words[i + 2])] for i in range(0, len(words), 4)}
        assert Image.open(io.BytesIO(members["jpg"])).size[1] == 40
        assert members["txt"].decode().startswith("caption ")
        assert json.loads(members["json"])["height"] == 40
