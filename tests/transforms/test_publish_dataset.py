from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pairmill.runners.cli import main
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, sum_other_files, write_manifest
from pairmill.sharding.publish import TEMPORARY_MARK
from pairmill.transforms import dataset_copy, store_target
from pairmill.transforms.dataset_copy import CopySettings
from pairmill.transforms.publish_dataset import publish_dataset
from pairmill.transforms.stage_in import stage_in
from pairmill.transforms.store_target import UNFINISHED, LocalSums

FAST = CopySettings(retries=2, backoff_s=0)
CONTENT = {
    "train-00000-of-00002.tar": os.urandom(300_000),
    "train-00001-of-00002.tar": os.urandom(70_000),
    "train-00000-of-00002.idx": b"v1.2\n",
    "metadata/train-00000-of-00002.parquet": os.urandom(500),
    "mds/train/index.json": b"{}",
    ".nv-meta/dataset.yaml": b"x: 1\n",
    "empty.txt": b"",
}


def written(folder: Path, seed: int = 1) -> Path:
    for name, data in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    splits = {"train": {f"train-0000{n}-of-00002": 1 for n in range(2)}}
    write_manifest(folder, Manifest(splits, sum_other_files(folder, {}), seed=seed, record={}))
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return written(tmp_path / "build" / "dataset")


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Place:
    """A folder of some store: its URL, and what lies there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store, self.root = fsspec.core.url_to_fs(url)

    def files(self) -> dict[str, bytes]:
        self.store.invalidate_cache()
        found = self.store.find(self.root)
        return {name[len(self.root) + 1 :]: self.store.cat_file(name) for name in found}

    def put(self, name: str, data: bytes) -> None:
        self.store.pipe_file(f"{self.root}/{name}", data)


@pytest.fixture(params=["file", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty folder of a store: of files, of objects in memory, of a real server."""
    if request.param == "file":
        (tmp_path / "store").mkdir()
        yield Place(str(tmp_path / "store" / "set"))
    elif request.param == "s3":
        yield Place(request.getfixturevalue("s3").new_url())
    else:
        place = Place("memory://bucket/set")
        yield place
        place.store.rm("/bucket", recursive=True)


def test_everything_is_there_and_the_second_time_nothing_is_copied(
    dataset: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    done = publish_dataset(dataset.parent, place.url, progress=lambda *count: told.append(count))
    whole = sum(map(len, CONTENT.values()))
    assert place.files() == files(dataset)
    assert (done.copied_files, done.copied_bytes, done.present_files) == (len(CONTENT), whole, 0)
    assert (told[0], told[-1]) == ((0, whole), (whole, whole))
    assert done.compared == {"sum" if place.url.startswith("s3") else "size": len(CONTENT)}
    monkeypatch.setattr(store_target.StoreTarget, "_write", None)  # nothing is written
    for settings in (CopySettings(), CopySettings(recheck=True)):
        again = publish_dataset(dataset, place.url, settings)
        assert (again.copied_files, again.present_files, again.present_bytes) == (0, len(CONTENT), whole)
    stage_in(place.url, tmp_path / "back")
    assert files(tmp_path / "back") == files(dataset)


def test_large_objects_go_in_parts(dataset: Path, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = 5 << 20  # the least that S3 takes
    monkeypatch.setattr(store_target, "PART_BYTES", part)
    (dataset / "train-00000-of-00002.tar").write_bytes(os.urandom(2 * part + 17))
    (dataset / MANIFEST_NAME).unlink()
    write_manifest(dataset, Manifest({}, sum_other_files(dataset, {}), seed=1, record={}))
    place = Place(s3.new_url())
    done = publish_dataset(dataset, place.url, FAST)
    assert done.compared == {"sum": len(CONTENT)}
    tag = place.store.info(f"{place.root}/train-00000-of-00002.tar")["ETag"]
    assert tag.strip('"') == LocalSums.of(dataset / "train-00000-of-00002.tar").parts
    assert tag.strip('"').endswith("-3")
    assert s3.copy_of(place.url, tmp_path / "copy")
    assert files(tmp_path / "copy") == files(dataset)


def test_a_killed_copy_goes_on(dataset: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = store_target.StoreTarget.put, iter(range(100))

    def killed(*given: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(store_target.StoreTarget, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_dataset(dataset, place.url, CopySettings(streams=1))
    left = place.files()
    assert MANIFEST_NAME not in left
    assert UNFINISHED in left
    assert all(left[name] == CONTENT[name] for name in left if name != UNFINISHED)
    place.put(f"empty.txt{TEMPORARY_MARK}0123456789ab", b"half")
    done = publish_dataset(dataset, place.url)
    assert 3 <= done.present_files == len(left) - 1
    assert place.files() == files(dataset)


def test_a_store_that_fails_now_and_then(dataset: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tried = store_target.StoreTarget._put, dict.fromkeys(CONTENT, 0)

    def flaky(self: Any, path: Path, file: Any, told: Any) -> None:
        tried[file.name] += 1
        if tried[file.name] < 3:
            raise store_target.NotCopiedError("cut")
        real(self, path, file, told)

    monkeypatch.setattr(store_target.StoreTarget, "_put", flaky)
    told: list[tuple[int, int]] = []
    publish_dataset(dataset, place.url, FAST, lambda *count: told.append(count))
    assert told[-1][0] == told[-1][1]
    assert place.files() == files(dataset)
    tried.update(dict.fromkeys(CONTENT, -9))
    with pytest.raises(PairmillError, match=r"cut \(3 attempts\); run the same command again"):
        publish_dataset(dataset, place.url.replace("set", "other") if "set" in place.url else f"{place.url}2", FAST)


def test_what_is_damaged_there_is_mended(dataset: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_dataset(dataset, place.url)
    place.put("train-00001-of-00002.tar", b"x" + CONTENT["train-00001-of-00002.tar"][1:])
    place.put("empty.txt", b"more")
    assert publish_dataset(dataset, place.url).copied_files == 1  # the size tells of one
    assert publish_dataset(dataset, place.url, CopySettings(recheck=True)).copied_files == 1
    assert place.files() == files(dataset)
    if not place.url.startswith("s3"):  # sums are compared without reading there
        monkeypatch.setattr(place.store, "open", None)
        with pytest.raises(PairmillError, match=r"cannot be read: 'NoneType' object is not callable"):
            publish_dataset(dataset, place.url, CopySettings(recheck=True))


def test_tags_that_are_no_sums_cost_one_reading(dataset: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a store that encrypts with keys of its own."""
    real = store_target.StoreTarget._info
    monkeypatch.setattr(
        store_target.StoreTarget, "_info", lambda self, file: {**real(self, file), "ETag": f'"{"0" * 32}"'}
    )
    done = publish_dataset(dataset, place.url, CopySettings(streams=1))
    assert done.compared == {"bytes": 1, "size": len(CONTENT) - 1}
    monkeypatch.setattr(store_target.StoreTarget, "_reads_back", lambda self, file: False)
    with pytest.raises(PairmillError, match="what lies there is not what was sent"):
        publish_dataset(dataset, place.url + "2", FAST)


def test_a_store_that_changes_bytes_is_found_out(dataset: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = store_target.StoreTarget._put

    def changed(self: Any, path: Path, file: Any, told: Any) -> None:
        real(self, path, file, told)
        if file.name.endswith("1-of-00002.tar"):
            self._store.pipe_file(f"{self._root}/{file.name}", bytes(file.bytes))

    monkeypatch.setattr(store_target.StoreTarget, "_put", changed)
    place = Place(s3.new_url())
    with pytest.raises(PairmillError, match=r"train-00001-of-00002\.tar: what lies there is not what was sent"):
        publish_dataset(dataset, place.url, FAST)
    assert MANIFEST_NAME not in place.files()


def test_a_damaged_dataset_is_not_published(dataset: Path, place: Place) -> None:
    victim = dataset / "train-00001-of-00002.tar"
    data = victim.read_bytes()
    victim.write_bytes(b"x" + data[1:])
    with pytest.raises(PairmillError, match=r"is not the file that manifest\.json tells"):
        publish_dataset(dataset, place.url, FAST)
    assert victim.name not in place.files()
    victim.unlink()
    with pytest.raises(UsageError, match=r"is missing, though manifest\.json names it"):
        publish_dataset(dataset, place.url, FAST)
    victim.write_bytes(data)
    publish_dataset(dataset, place.url, FAST)
    assert place.files() == files(dataset)


def test_folders_of_others_are_left_alone(dataset: Path, place: Place, tmp_path: Path) -> None:
    other = written(tmp_path / "other", seed=2)
    publish_dataset(other, place.url)
    before = place.files()
    with pytest.raises(UsageError, match="holds another dataset"):
        publish_dataset(dataset, place.url)
    assert place.files() == before
    place.store.rm_file(f"{place.root}/{MANIFEST_NAME}")
    place.put(UNFINISHED, b"of another")
    with pytest.raises(UsageError, match="holds an unfinished copy of another dataset"):
        publish_dataset(dataset, place.url)
    place.put("notes.txt", b"mine")
    with pytest.raises(UsageError, match=r"holds 'notes\.txt', which is not of this dataset"):
        publish_dataset(dataset, place.url)


def test_what_cannot_be_is_told(dataset: Path, tmp_path: Path, s3: Any) -> None:
    with pytest.raises(UsageError, match="the dataset was not finished, or this is not a dataset"):
        publish_dataset(tmp_path, "memory://x")
    with pytest.raises(UsageError, match="an fsspec URL such as s3://bucket/folder is needed"):
        publish_dataset(dataset, "nowhere://bucket/x")
    with pytest.raises(UsageError, match=r"s3://no-such-bucket/set cannot be (listed|written)"):
        publish_dataset(dataset, "s3://no-such-bucket/set")


def test_the_command_says_how_copies_were_compared(
    dataset: Path, s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = s3.new_url()
    assert main(["publish", str(dataset.parent), url]) == 0
    told = capsys.readouterr().out
    assert "7 files copied and checked" in told
    assert "7 of them compared by the store's own sums" in told
    assert main(["publish", str(dataset.parent), url, "--streams", "0"]) == 2
    assert main(["stage-in", url, str(tmp_path / "back"), "--quiet"]) == 0
    assert files(tmp_path / "back") == files(dataset)
    shutil.rmtree(tmp_path / "back")


def test_a_package_that_lacks_is_named(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(url: str) -> Any:
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(dataset_copy, "url_to_fs", lacks)
    with pytest.raises(UsageError, match=r"gs://bucket/x: Please install gcsfs; pip install 'pairmill\[gs\]'"):
        publish_dataset(dataset, "gs://bucket/x")


def test_sums_as_stores_tell_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"some bytes")
    sums = LocalSums.of(tmp_path / "a")
    digest = hashlib.md5(b"some bytes").digest()
    assert store_target._same(sums, {"md5Hash": base64.b64encode(digest).decode()}) is True
    assert store_target._same(sums, {"md5Hash": base64.b64encode(bytes(16)).decode()}) is False
    assert store_target._same(sums, {"content_settings": {"content_md5": bytearray(digest)}}) is True
    assert store_target._same(sums, {"content_settings": {"content_md5": None}}) is None
    assert store_target._same(sums, {"ETag": f'"{digest.hex()}"'}) is True
    assert store_target._same(sums, {"ETag": f'"{hashlib.md5(digest).hexdigest()}-1"'}) is True
    assert store_target._same(sums, {"ETag": '"0x8DC"'}) is None
    assert store_target._same(sums, {"size": 10}) is None
