from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, sum_other_files, write_manifest
from pairmill.transforms.dataset_copy import CHUNK_BYTES, CopySettings
from pairmill.transforms.stage_in import stage_in

FAST = CopySettings(retries=2, backoff_s=0)
CONTENT = {
    "train-00000-of-00002.tar": os.urandom(CHUNK_BYTES + 17),
    "train-00001-of-00002.tar": os.urandom(1000),
    "train-00000-of-00002.idx": b"v1.2\n",
    "metadata/train-00000-of-00002.parquet": os.urandom(500),
    ".nv-meta/dataset.yaml": b"x: 1\n",
    "empty.txt": b"",
}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    for name, data in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    splits = {"train": {f"train-0000{n}-of-00002": 1 for n in range(2)}}
    write_manifest(folder, Manifest(splits, sum_other_files(folder, {}), seed=1, record={}))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_everything_is_copied_and_the_second_time_nothing(dataset: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = stage_in(str(dataset), tmp_path / "nvme", progress=lambda *count: told.append(count))
    whole = sum(map(len, CONTENT.values()))
    assert files(tmp_path / "nvme") == files(dataset)
    assert (done.copied_files, done.copied_bytes, done.present_files) == (len(CONTENT), whole, 0)
    assert told[0] == (0, whole)
    assert told[-1] == (whole, whole)
    again = stage_in(str(dataset), tmp_path / "nvme")
    assert (again.copied_files, again.present_bytes) == (0, whole)


def test_from_a_store_in_memory(dataset: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(dataset), "/bucket/set", recursive=True)
    try:
        stage_in("memory://bucket/set/", tmp_path / "nvme")
    finally:
        store.rm("/bucket", recursive=True)
    assert files(tmp_path / "nvme") == files(dataset)


@pytest.fixture
def web(dataset: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(dataset.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/dataset"
        server.shutdown()
        thread.join()


def test_from_a_web_server(web: str, dataset: Path, tmp_path: Path) -> None:
    stage_in(web, tmp_path / "nvme")
    assert files(tmp_path / "nvme") == files(dataset)
    (dataset / "empty.txt").unlink()
    with pytest.raises(PairmillError, match=r"empty\.txt"):
        stage_in(web, tmp_path / "other", FAST)


@pytest.mark.parametrize("fault", ["changed", "short", "long", "missing"])
def test_a_damaged_source_leaves_no_file_under_its_name(dataset: Path, tmp_path: Path, fault: str) -> None:
    victim = dataset / "train-00000-of-00002.tar"
    data = victim.read_bytes()
    if fault == "missing":
        victim.unlink()
    else:
        victim.write_bytes({"changed": b"x" + data[1:], "short": data[:-1], "long": data + b"x"}[fault])
    with pytest.raises(PairmillError, match=rf"{victim.name}.*\(3 attempts\); run the same command again"):
        stage_in(str(dataset), tmp_path / "nvme", FAST)
    left = files(tmp_path / "nvme")
    assert victim.name not in left
    assert MANIFEST_NAME not in left
    assert not any(".tmp-" in name for name in left)
    victim.write_bytes(data)  # mended: the same command goes on
    done = stage_in(str(dataset), tmp_path / "nvme", FAST)
    assert done.copied_files == len(CONTENT) - len(left)
    assert files(tmp_path / "nvme") == files(dataset)


def test_a_store_that_fails_now_and_then(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("file")
    opened: dict[str, int] = {}
    real = type(store).open

    def flaky(self: object, path: str, *given: object, **named: object) -> object:
        opened[path] = opened.get(path, 0) + 1
        if opened[path] < 3 and path.endswith(".tar"):
            raise ConnectionResetError("cut")
        return real(self, path, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "open", flaky)
    stage_in(str(dataset), tmp_path / "nvme", FAST)
    assert files(tmp_path / "nvme") == files(dataset)


def test_a_killed_copy_goes_on(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nvme"
    folder.mkdir()
    shutil.copy(dataset / "train-00001-of-00002.tar", folder)
    (folder / "train-00000-of-00002.tar.tmp-0123456789ab").write_bytes(b"half")
    (folder / "empty.txt").write_bytes(b"not the size")
    done = stage_in(str(dataset), folder)
    assert done.present_files == 1
    assert files(folder) == files(dataset)


def test_recheck_reads_what_is_there(dataset: Path, tmp_path: Path) -> None:
    stage_in(str(dataset), tmp_path / "nvme")
    (tmp_path / "nvme" / "train-00001-of-00002.tar").write_bytes(bytes(1000))  # of the same size
    assert stage_in(str(dataset), tmp_path / "nvme").copied_files == 0
    assert stage_in(str(dataset), tmp_path / "nvme", CopySettings(recheck=True)).copied_files == 1
    assert files(tmp_path / "nvme") == files(dataset)


def test_folders_that_hold_something_else_are_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match=r"holds 'thesis\.txt', which is not of this dataset"):
        stage_in(str(dataset), tmp_path / "mine")
    stage_in(str(dataset), tmp_path / "nvme")
    write_manifest(dataset, Manifest({}, sum_other_files(dataset, {}), seed=2, record={}))
    with pytest.raises(UsageError, match="holds another dataset"):
        stage_in(str(dataset), tmp_path / "nvme")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{tmp}/nothing", "has no manifest.json: name the folder of a finished dataset"),
        ("nosuchstore://bucket", "nosuchstore://bucket: .*fsspec URL"),
        ("{tmp}/damaged", "manifest.json is not JSON"),
        ("{tmp}/outward", "leads out of the dataset"),
    ],
)
def test_bad_sources(tmp_path: Path, source: str, told: str) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / MANIFEST_NAME).write_text("{")
    (tmp_path / "outward").mkdir()
    (tmp_path / "outward" / "x").write_text("x")
    outward = Manifest({}, sum_other_files(tmp_path / "outward", {}), seed=1, record={})
    write_manifest(tmp_path / "outward", outward)
    path = tmp_path / "outward" / MANIFEST_NAME
    path.write_text(path.read_text().replace('"x"', '"../x"'))
    with pytest.raises(UsageError, match=told):
        stage_in(source.format(tmp=tmp_path), tmp_path / "nvme")
    assert not (tmp_path / "nvme").exists()
    assert not (tmp_path / "x").exists()


def test_a_disk_too_small_is_told_before_the_copy(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UsageError, match="GB are needed"):
        stage_in(str(dataset), tmp_path / "nvme")
    assert files(tmp_path / "nvme") == {}


def test_one_copy_at_a_time(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "nvme").mkdir()
    descriptor = os.open(tmp_path / "nvme", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(UsageError, match="another stage-in is at work"):
            stage_in(str(dataset), tmp_path / "nvme")
    finally:
        os.close(descriptor)


def test_settings_are_checked() -> None:
    for wrong in ({"streams": 0}, {"retries": -1}, {"backoff_s": -1}):
        with pytest.raises(ValueError, match="cannot work"):
            CopySettings(**wrong)  # type: ignore[arg-type]
