from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import read_manifest
from pairmill.sharding.mds import INDEX_NAME, MdsColumns, MdsError, mds_bytes, mds_sample, open_mds, payload_bytes
from pairmill.sharding.removal import plan_removal, remove_samples
from pairmill.sharding.reshard import reshard
from pairmill.sharding.reshard_plan import ReshardSettings
from pairmill.sharding.sample_draw import draw_samples
from pairmill.sharding.shard import MemberSample, ShardInfo
from pairmill.sharding.shard_formats import Ahead, Format, mds_path, write_formats
from pairmill.sharding.shard_source import ShardSource
from pairmill.sharding.stats_cli import examine, find_shards, main

EXTENSIONS = ("jpg", "txt", "json")


def sample(key: str, image: bytes = b"\xff\xd8", caption: str = "a", record: str = "{}") -> MemberSample:
    return MemberSample(key, (("jpg", image), ("txt", caption.encode()), ("json", record.encode())))


def ahead(samples: list[MemberSample]) -> Ahead:
    return Ahead(EXTENSIONS, [payload_bytes(key, (len(data) for _, data in members)) for key, members in samples])


def write(folder: Path, samples: list[MemberSample], format: Format = "mds", name: str = "train-00000-of-00001"):
    return write_formats(folder, "train", name, samples, format, lambda: ahead(samples))


def read_by_the_format(path: Path) -> list[dict[str, bytes]]:
    """The samples of a shard, by the words of the format and none of our code."""
    data = path.read_bytes()
    (count,) = struct.unpack_from("<I", data)
    offsets = struct.unpack_from(f"<{count + 1}I", data, 4)
    config = json.loads(data[4 * (count + 2) : offsets[0]])
    assert config["format"], config["version"] == ("mds", 2)
    assert config["column_names"] == sorted(config["column_names"])
    assert offsets[-1] == len(data)
    found = []
    for start in offsets[:-1]:
        lengths = struct.unpack_from(f"<{len(config['column_names'])}I", data, start)
        at, columns = start + 4 * len(lengths), {}
        for name, length in zip(config["column_names"], lengths, strict=True):
            columns[name] = data[at : at + length]
            at += length
        found.append(columns)
    return found


def faults(folder: Path) -> list[str]:
    return [str(fault) for fault in examine(find_shards(folder), verify=True).faults]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=300), st.text(max_size=40)), min_size=1, max_size=20))
def test_a_shard_holds_what_it_was_given(tmp_path_factory: pytest.TempPathFactory, given: list) -> None:
    folder = tmp_path_factory.mktemp("mds")
    samples = [
        sample(f"{i:08x}", image, caption.encode("utf-8", "replace").decode(), json.dumps({"n": i}))
        for i, (image, caption) in enumerate(given)
    ]
    info = write(folder, samples)
    path = mds_path(folder, "train", info.name)
    assert [
        {"key": key.encode(), **{extension: bytes(data) for extension, data in members}} for key, members in samples
    ] == read_by_the_format(path)
    assert info.mds is not None
    assert not info.has_tar
    assert info.stored_bytes == info.mds.bytes == path.stat().st_size
    assert info.mds.bytes == mds_bytes(EXTENSIONS, ahead(samples).payloads)
    assert info.mds.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    opened = open_mds(path)
    data = path.read_bytes()
    again = [mds_sample(opened, data[start:end]) for start, end in opened.places.tolist()]
    assert [(key, dict(members)) for key, members in again] == [(key, dict(members)) for key, members in samples]
    assert [extension for extension, _ in again[0].members] == list(EXTENSIONS)
    assert ShardInfo.from_dict(info.to_dict()) == info


def test_both_formats_come_of_one_reading(tmp_path: Path) -> None:
    samples = [sample("a"), sample("b", caption="ü")]
    read: list[str] = []

    def once() -> list[MemberSample]:
        for each in samples:
            read.append(each.key)
            yield each

    info = write_formats(tmp_path, "train", "train-00000-of-00001", once(), "both", lambda: ahead(samples))
    assert read == ["a", "b"]
    assert {file.name for file in info.files} == {
        "train-00000-of-00001.tar",
        "train-00000-of-00001.tar.idx",
        "train-00000-of-00001.idx",
        "mds/train/train-00000-of-00001.mds",
    }
    for file in info.files:
        assert hashlib.sha256((tmp_path / file.name).read_bytes()).hexdigest() == file.sha256
    write(tmp_path / "alone", samples)
    assert (
        mds_path(tmp_path, "train", info.name).read_bytes()
        == mds_path(tmp_path / "alone", "train", info.name).read_bytes()
    )


@pytest.mark.parametrize(
    ("samples", "told", "message"),
    [
        ([sample("a"), sample("a")], None, "the key 'a' twice"),
        ([], None, "no samples"),
        ([sample("a", b"12")], Ahead(EXTENSIONS, [5]), "not of the length"),
        ([sample("a")], Ahead(EXTENSIONS, [6, 6]), "1 samples, 2 were told"),
        ([sample("a")], Ahead(("jpg", "txt"), [6]), "members jpg txt json"),
        ([sample("a")], Ahead(("jpg", "key"), [6]), "no place in MDS"),
        ([sample("a")], Ahead(EXTENSIONS, [2**32]), "plan more shards"),
        ([sample("a b")], None, "printable ASCII"),
    ],
)
def test_what_no_shard_can_be_made_of(
    tmp_path: Path, samples: list[MemberSample], told: Ahead | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_formats(tmp_path, "train", "train-00000-of-00001", samples, "mds", lambda: told or ahead(samples))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_encodings_are_those_that_a_trainer_decodes() -> None:
    assert MdsColumns.of_members(["jpg", "txt", "json", "cls", "webp", "png"]).encodings == {
        "cls": "bytes",
        "jpg": "jpeg",
        "json": "json",
        "key": "str",
        "png": "png",
        "txt": "str",
        "webp": "bytes",
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "cut off or damaged"),
        (lambda data: b"", "number of samples"),
        (lambda data: b"\xff" * 4 + data[4:], "number of samples"),
        (lambda data: data[:4] + data[8:12] + data[4:8] + data[12:], "not in order"),
        (lambda data: data.replace(b'"mds"', b'"xsv"'), "format 'xsv'"),
        (lambda data: data.replace(b'"version"', b'"notions"'), "tells no columns"),
        (lambda data: data.replace(b'"compression": null', b'"compression": 1234'), "compressed"),
    ],
)
def test_damage_is_told(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    info = write(tmp_path, [sample("a"), sample("b")])
    path = mds_path(tmp_path, "train", info.name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MdsError, match=message):
        open_mds(path)
    assert any(message in fault for fault in faults(tmp_path))


@pytest.fixture(params=["mds", "both"])
def converted(request: pytest.FixtureRequest, dataset: Path, tmp_path: Path) -> Path:
    reshard(dataset, tmp_path / "new", ReshardSettings(count=3, format=request.param))
    return tmp_path / "new"


def test_a_dataset_in_mds(dataset: Path, converted: Path) -> None:
    manifest = read_manifest(converted)
    assert not faults(converted)
    assert list(manifest.splits["train"].values()) == [8, 8, 8]
    index = json.loads((converted / "mds" / "train" / INDEX_NAME).read_bytes())
    assert [shard["samples"] for shard in index["shards"]] == [8, 8, 8]
    source = ShardSource(dataset)
    wanted = [each for shard in source.shards if shard.split == "train" for each in source.samples(shard.name)]
    found = []
    for shard in index["shards"]:
        path = converted / "mds" / "train" / shard["raw_data"]["basename"]
        assert shard["raw_data"]["bytes"] == path.stat().st_size
        assert shard["raw_data"]["hashes"] == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        found += read_by_the_format(path)
    assert [(each["key"].decode(), each["jpg"], each["txt"]) for each in found] == [
        (key, bytes(dict(members)["jpg"]), bytes(dict(members)["txt"])) for key, members in wanted
    ]
    assert (converted / "sizes.json").is_file() == (manifest.format == "both")
    assert manifest.format in ("mds", "both")
    assert "StreamingDataset" in (converted / "README.md").read_text()


def test_statistics_are_those_of_the_tars(dataset: Path, converted: Path) -> None:
    tars, mds = (examine(find_shards(folder), verify=False, scan=True) for folder in (dataset, converted))
    assert mds.statistics.distributions == tars.statistics.distributions
    assert mds.statistics.languages == tars.statistics.languages
    assert mds.statistics.members == tars.statistics.members
    assert main([str(converted), "--verify", "--splits", "val"]) == 0


def test_mds_is_a_source_too(dataset: Path, converted: Path, tmp_path: Path) -> None:
    if read_manifest(converted).format == "both":
        for path in converted.glob("*.tar"):
            path.unlink()  # a source of both is read from its tars: here as if they had not been staged
        with pytest.raises(PairmillError):
            ShardSource(converted)
        return
    reshard(converted, tmp_path / "back", ReshardSettings(samples_per_shard=8))
    assert not faults(tmp_path / "back")
    for name in ("train-00000-of-00003.tar", "train-00001-of-00003.idx", "train-00002-of-00003.tar.idx"):
        assert (tmp_path / "back" / name).read_bytes() == (dataset / name).read_bytes()


def test_a_takedown_reaches_both_formats(converted: Path) -> None:
    import polars as pl

    uids = pl.read_parquet(converted / "metadata" / "train-00001-of-00003.parquet")["uid"]
    gone, plan = uids[2], plan_removal(converted, "uid", uids[2:3])
    assert remove_samples(plan).samples == 1
    assert not faults(converted)
    assert list(read_manifest(converted).splits["train"].values()) == [8, 7, 8]
    for path in (path for path in converted.rglob("*") if path.is_file()):
        assert gone.encode() not in path.read_bytes(), path


def test_a_bad_index_is_told(converted: Path) -> None:
    index = converted / "mds" / "train" / INDEX_NAME
    told = json.loads(index.read_bytes())
    told["shards"][0]["samples"] += 1
    told["shards"][1]["raw_data"]["basename"] = "other.mds"
    index.write_text(json.dumps(told))
    found = faults(converted)
    assert any("sha256" in fault or "bytes" in fault for fault in found)
    told["shards"][1]["column_names"][0] = "JPG"
    (converted / "manifest.json").unlink()
    index.write_text(json.dumps(told))
    found = faults(converted)
    assert any("9 samples of train-00000-of-00003.mds" in fault for fault in found)
    assert any("other.mds: is missing" in fault for fault in found)
    assert any("train-00001-of-00003.mds: is not named in index.json" in fault for fault in found)


def test_other_samples_than_the_tar_are_told(dataset: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    reshard(dataset, new, ReshardSettings(count=3, format="both"))
    (new / "manifest.json").unlink()
    mds = new / "mds" / "train"
    data = (mds / "train-00000-of-00003.mds").read_bytes()
    (mds / "train-00000-of-00003.mds").write_bytes((mds / "train-00001-of-00003.mds").read_bytes())
    (mds / "train-00001-of-00003.mds").write_bytes(data)
    assert any("does not hold the samples of train-00000-of-00003.tar" in fault for fault in faults(new))


def test_a_foreign_sample_that_no_reader_decodes_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    bad = MemberSample("b", (("jpg", b"\xff\xd8"), ("txt", b"\xff\xfe"), ("json", b"{}")))
    write_formats(source, "train", "00000", [sample("a"), bad], "webdataset", lambda: ahead([]))
    with pytest.raises(PairmillError, match=r"sample b: its \.txt is not UTF-8"):
        reshard(source, tmp_path / "new", ReshardSettings(format="mds"))


def test_mds_of_other_columns_is_described_but_no_source(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    columns = MdsColumns({"caption": "str", "image": "jpeg", "label": "int"}, (None, None, 8))
    image = picture(30, 20)
    body = struct.pack("<II", 5, len(image)) + b"words" + image + struct.pack("<q", 7)
    config = json.dumps(columns.config(), sort_keys=True).encode()
    first = 12 + len(config)
    folder = tmp_path / "val"
    folder.mkdir()
    (folder / "shard.00000.mds").write_bytes(struct.pack("<III", 1, first, first + len(body)) + config + body)
    statistics = examine(find_shards(tmp_path), verify=False).statistics
    assert (statistics.samples, statistics.members) == (1, {"txt": 1, "jpg": 1, "label": 1})
    assert (statistics.distributions["width"].max, statistics.distributions["caption_length"].max) == (30, 5)
    with pytest.raises(UsageError, match="columns caption image label"):
        reshard(tmp_path, tmp_path / "new", ReshardSettings())


def test_a_contact_sheet_shows_mds_and_loaders_of_tars_refuse_it(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    reshard(dataset, new, ReshardSettings(count=3, format="mds"))
    target = find_shards(new)
    counts = examine(target, verify=False).counts
    drawn = draw_samples(target.tars, counts, 5)
    assert [each.shard for each in drawn] == sorted(each.shard for each in drawn)
    assert {name for each in drawn for name in each.members} == set(EXTENSIONS)
    assert main([str(new), "--topology", "nodes=1,gpus=2,workers=2"]) == 2
    assert "mosaicml-streaming splits samples" in capsys.readouterr().err
