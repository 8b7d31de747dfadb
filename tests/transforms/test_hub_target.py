"""Publishing to a repository of the Hugging Face Hub, here a stand-in of its API on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, sum_other_files, write_manifest
from pairmill.transforms import hub_target
from pairmill.transforms.dataset_copy import CopySettings
from pairmill.transforms.publish_dataset import publish_dataset
from pairmill.transforms.stage_in import stage_in

from .hub_stand_in import REPOSITORY, Hub, serve_hub

pytest.importorskip("huggingface_hub")

URL = f"hf://datasets/{REPOSITORY}"
FAST = CopySettings(retries=2, backoff_s=0)
CONTENT = {
    "train-00000-of-00002.tar": os.urandom(300_000),
    "train-00001-of-00002.tar": os.urandom(70_000),
    "train-00000-of-00002.idx": b"v1.2\n",
    "metadata/train-00000-of-00002.parquet": os.urandom(500),
    ".nv-meta/dataset.yaml": b"x: 1\n",
    "README.md": b"---\nconfigs: []\n---\n# Pairs\n",
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


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import HfFileSystem, constants

    with serve_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        HfFileSystem.clear_instance_cache()
        yield hub
        HfFileSystem.clear_instance_cache()


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def there(hub: Hub) -> dict[str, bytes]:
    return {name: data for name, data in hub.files.items() if name != ".gitattributes"}


def test_a_repository_gets_the_dataset_in_few_commits_the_manifest_last(
    dataset: Path, hub: Hub, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    done = publish_dataset(dataset, URL, FAST, lambda *count: told.append(count))
    assert there(hub) == files(dataset)
    assert hub.commits == [sorted(CONTENT), [MANIFEST_NAME]]
    assert done.compared == {"sum": len(CONTENT)}
    assert told[-1][0] == told[-1][1] == sum(map(len, CONTENT.values()))
    for settings in (FAST, CopySettings(recheck=True)):
        assert publish_dataset(dataset, URL, settings).copied_files == 0
    assert len(hub.commits) == 2
    stage_in(URL, tmp_path / "back", FAST)
    assert files(tmp_path / "back") == files(dataset)


def test_a_folder_of_a_repository(dataset: Path, hub: Hub) -> None:
    hub.files["other/notes.txt"] = b"not ours"
    publish_dataset(dataset, f"{URL}/pairs/v1", FAST)
    assert {name.removeprefix("pairs/v1/"): data for name, data in there(hub).items() if "pairs" in name} == files(
        dataset
    )


def test_it_goes_on_where_it_was_stopped(dataset: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_target, "FILES_PER_COMMIT", 3)
    hub.faults = [503, 412, 503]  # more than are tried again
    with pytest.raises(PairmillError, match=r"\(3 attempts\); run the same command again"):
        publish_dataset(dataset, URL, FAST)
    hub.faults = [503]
    publish_dataset(dataset, URL, FAST)
    assert there(hub) == files(dataset)
    assert [len(commit) for commit in hub.commits] == [3, 3, 1, 1]
    hub.files["train-00001-of-00002.tar"] = bytes(70_000)
    done = publish_dataset(dataset, URL, CopySettings(recheck=True))
    assert done.copied_files == 1
    assert there(hub) == files(dataset)


def test_what_arrives_otherwise_is_found_out(dataset: Path, hub: Hub) -> None:
    for name in ("train-00000-of-00002.tar", "train-00000-of-00002.idx"):
        hub.spoil = {name}
        with pytest.raises(PairmillError, match=f"{name}: what lies there is not what was sent"):
            publish_dataset(dataset, URL, FAST)
        assert MANIFEST_NAME not in hub.files
        hub.files = {".gitattributes": b""}


def test_what_cannot_be_is_told(dataset: Path, hub: Hub) -> None:
    with pytest.raises(UsageError, match="the repository must be there"):
        publish_dataset(dataset, "hf://datasets/me/nowhere", FAST)
    hub.files["notes.txt"] = b"mine"
    with pytest.raises(UsageError, match=r"holds 'notes\.txt', which is not of this dataset"):
        publish_dataset(dataset, URL, FAST)
    del hub.files["notes.txt"]
    hub.files[MANIFEST_NAME] = b"{}"
    with pytest.raises(UsageError, match="holds another dataset"):
        publish_dataset(dataset, URL, FAST)
    del hub.files[MANIFEST_NAME]
    (dataset / "train-00001-of-00002.tar").write_bytes(bytes(70_000))
    with pytest.raises(PairmillError, match=r"is not the file that manifest\.json tells"):
        publish_dataset(dataset, URL, FAST)
