"""The files around the shards: indexes of the whole dataset, Energon's folder, the card, the manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pairmill.sharding.dataset_card import CardFacts, dataset_card
from pairmill.sharding.indexes import sizes_json, wids_index, write_indexes
from pairmill.sharding.manifest import (
    Manifest,
    ManifestError,
    dataset_files,
    read_manifest,
    sum_other_files,
    write_manifest,
)
from pairmill.sharding.publish import FileSum
from pairmill.sharding.shard import ShardInfo

SPLITS = {
    "train": [ShardInfo(f"train-{i:05d}-of-00003", 10 + i, 10240, "0" * 64, ()) for i in range(3)],
    "val": [ShardInfo("val-00000-of-00001", 2, 10240, "1" * 64, ())],
}


def test_sizes_of_all_splits() -> None:
    assert json.loads(sizes_json(SPLITS)) == {
        "train-00000-of-00003.tar": 10,
        "train-00001-of-00003.tar": 11,
        "train-00002-of-00003.tar": 12,
        "val-00000-of-00001.tar": 2,
    }


def test_wids_index() -> None:
    index = json.loads(wids_index("train", SPLITS["train"][::-1]))
    assert (index["__kind__"], index["wids_version"], index["name"]) == ("wids-shard-index-v1", 1, "train")
    assert index["shardlist"][0] == {"url": "train-00000-of-00003.tar", "nsamples": 10, "filesize": 10240}
    assert [shard["url"] for shard in index["shardlist"]] == [f"train-{i:05d}-of-00003.tar" for i in range(3)]


def test_write_indexes_keeps_the_splits_apart(tmp_path: Path) -> None:
    written = write_indexes(tmp_path, {**SPLITS, "test": []}, "webp")
    assert sorted(file.name for file in written) == [
        ".nv-meta/.info.json",
        ".nv-meta/dataset.yaml",
        ".nv-meta/split.yaml",
        "shardindex-val.json",
        "shardindex.json",
        "sizes.json",
    ]
    assert "val" not in (tmp_path / "shardindex.json").read_text()
    info = json.loads((tmp_path / ".nv-meta" / ".info.json").read_text())
    assert info["energon_version"] == "7.4.1"
    assert list(info["shard_counts"].items())[-1] == ("val-00000-of-00001.tar", 2)
    assert yaml.safe_load((tmp_path / ".nv-meta" / "split.yaml").read_text()) == {
        "split_parts": {"train": ["train-{00000..00002}-of-00003.tar"], "val": ["val-00000-of-00001.tar"]},
        "exclude": [],
    }
    assert yaml.safe_load((tmp_path / ".nv-meta" / "dataset.yaml").read_text()) == {
        "sample_type": {"__module__": "megatron.energon", "__class__": "CaptioningSample"},
        "field_map": {"image": "webp", "caption": "txt"},
    }
    assert sorted(path.name for path in dataset_files(tmp_path)) == sorted(file.name.split("/")[-1] for file in written)


def test_card_says_what_is_there() -> None:
    card = dataset_card(SPLITS, CardFacts("basic", {"uid": "string", "a|b\nc": "int"}))
    front, text = card.split("---\n")[1:]
    assert yaml.safe_load(front) == {
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train-*-of-*.tar"},
                    {"split": "val", "path": "val-*-of-*.tar"},
                ],
            }
        ]
    }
    assert "| train | 33 | 3 | 30,720 |" in text
    assert "| a\\|b c | int |" in text
    assert "train-{00000..00002}-of-00003.tar" in text
    assert "`basic`" in text


def test_card_of_an_empty_dataset() -> None:
    assert "| split |" in dataset_card({"train": []}, CardFacts("basic", {}))


def test_manifest_comes_back(written: Path) -> None:
    manifest = read_manifest(written)
    assert manifest.samples == 30
    assert list(manifest.splits) == ["train", "val"]
    assert list(manifest.shards.values()) == [8, 8, 8, 3, 3]
    assert {file.name for file in manifest.files} == {
        path.relative_to(written).as_posix() for path in dataset_files(written)
    }
    assert ".nv-meta/.info.json" in {file.name for file in manifest.files}
    assert (manifest.seed, manifest.recipe_name, manifest.recipe_text) == (7, "basic", "pool: here\n")
    assert manifest.record["phash"] == "hex"
    assert Manifest.from_dict(json.loads(json.dumps(manifest.to_dict()))) == manifest


def test_what_made_the_scores_comes_back(written: Path) -> None:
    told = {"clip": {"columns": ["clip_similarity"], "model": "ViT-B-32", "preprocessing": {"size": [224, 224]}}}
    manifest = Manifest(**{**vars(read_manifest(written)), "scorers": told})
    data = json.loads(json.dumps(manifest.to_dict()))
    assert Manifest.from_dict(data) == manifest
    assert data.pop("scorers") == told
    assert Manifest.from_dict(data).scorers == {}  # as before there were scorers


def test_manifest_is_the_same_for_the_same_dataset(written: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(written, tmp_path / "elsewhere"))
    before = (copy / "manifest.json").read_bytes()
    (copy / "manifest.json").unlink()
    manifest = read_manifest(written)
    (copy / "junk.tmp-0123").write_bytes(b"left by a killed writer")
    files = sum_other_files(copy, {})
    write_manifest(copy, Manifest(**{**vars(manifest), "files": files[::-1]}))
    assert (copy / "manifest.json").read_bytes() == before
    assert str(tmp_path).encode() not in before


def test_sums_already_known_are_not_read_again(written: Path) -> None:
    known = FileSum("README.md", 1, "f" * 64)
    assert known in sum_other_files(written, {"README.md": known})


def edited(path: Path, **changes: object) -> None:
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"format": "other"}, "not the manifest of a pairmill dataset"),
        ({"format_version": 2}, "format version 2; this pairmill reads version 1"),
        ({"samples": 31}, "says 31 samples, its shards hold 30"),
        ({"files": {}}, "not among the files"),
        ({"files": {"../../etc/passwd": {"bytes": 1, "sha256": ""}}}, "leads out of the dataset"),
        ({"files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}}, "leads out of the dataset"),
        ({"files": [1]}, "damaged"),
        ({"shards": {"train": 3}}, "damaged"),
        ({"recipe": {}}, "lacks 'name'"),
    ],
)
def test_damaged_manifest_says_so_in_one_line(dataset: Path, changes: dict[str, object], what: str) -> None:
    edited(dataset / "manifest.json", **changes)
    with pytest.raises(ManifestError) as caught:
        read_manifest(dataset)
    assert what in str(caught.value)
    assert str(dataset / "manifest.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_manifest_that_is_no_json_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError, match=r"not JSON|not the manifest"):
        read_manifest(tmp_path)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is not there"):
        read_manifest(tmp_path)
