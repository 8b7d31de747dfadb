"""Builds with shards of other formats than tars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pairmill.pipeline import seal as seal_module
from pairmill.sharding.errors import UsageError
from pairmill.sharding.manifest import read_manifest
from pairmill.sharding.shard_source import ShardSource
from pairmill.sharding.stats_cli import examine, find_shards
from pairmill.transforms import write_step as write_module


def samples(dataset: Path) -> dict[str, list[tuple[str, dict[str, bytes]]]]:
    """Of each shard, key and members of its samples."""
    source = ShardSource(dataset)
    return {
        shard.name: [
            (key, {name: bytes(data) for name, data in members}) for key, members in source.samples(shard.name)
        ]
        for shard in source.shards
    }


@pytest.fixture(scope="module")
def recipe(small_pool: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    recipe: Path = small_pool.recipe(folder / "r.yaml", splits={"val": "20 %"}, shards={"count": 2})
    return recipe


def test_mds_holds_what_the_tars_do(recipe: Path, builds: Any, tree: Any, tmp_path: Path) -> None:
    work = tmp_path / "work"
    builds.make(recipe, tmp_path / "tars", work)
    for format in ("mds", "both"):
        builds.make(recipe, tmp_path / format, work, shards__format=format)
        builds.make(recipe, tmp_path / f"{format} again", work, lanes=3, shards__format=format)
        assert tree(tmp_path / format / "dataset") == tree(tmp_path / f"{format} again" / "dataset")
        assert not examine(find_shards(tmp_path / format), verify=True).faults
        manifest = read_manifest(tmp_path / format / "dataset")
        assert manifest.format == format
        assert manifest.splits == read_manifest(tmp_path / "tars" / "dataset").splits
        assert sorted(path.name for path in (tmp_path / format / "dataset" / "mds").iterdir()) == ["train", "val"]
    tars, mds, both = (tmp_path / name / "dataset" for name in ("tars", "mds", "both"))
    assert samples(mds) == samples(tars)
    assert {name: sha for name, sha in tree(both).items() if name.endswith((".tar", ".idx"))} == {
        name: sha for name, sha in tree(tars).items() if name.endswith((".tar", ".idx"))
    }
    assert tree(both / "mds") == tree(mds / "mds")
    assert not any(path.suffix in (".tar", ".idx") for path in mds.rglob("*"))
    assert not (mds / "sizes.json").exists()


class Killed(BaseException):
    """Like SIGKILL."""


@pytest.mark.parametrize(
    ("where", "what", "at"), [(write_module, "write_formats", 1), (seal_module, "write_indexes", 0)]
)
def test_killed_it_ends_in_the_same_bytes(
    recipe: Path,
    builds: Any,
    tree: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    what: str,
    at: int,
) -> None:
    original, calls = getattr(where, what), iter(range(1000))

    def killing(*args: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise Killed
        return original(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, what, killing)
        with pytest.raises(Killed):
            builds.make(recipe, tmp_path / "one", tmp_path / "work", shards__format="both")
    for stranger in ("mds/train/train-00000-of-00009.mds", "mds/old/index.json"):  # of another plan
        (tmp_path / "one" / "dataset" / stranger).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / "dataset" / stranger).write_text("{}")
    builds.make(recipe, tmp_path / "one", tmp_path / "work", shards__format="both")
    builds.make(recipe, tmp_path / "two", tmp_path / "work", shards__format="both")
    assert tree(tmp_path / "one" / "dataset") == tree(tmp_path / "two" / "dataset")
    assert json.loads((tmp_path / "one" / "dataset" / "mds" / "val" / "index.json").read_bytes())["version"] == 2


def test_an_unknown_format_is_told(recipe: Path, builds: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"shards\.format: input should be 'webdataset', 'mds' or 'both'"):
        builds.prepare(recipe, tmp_path / "build", shards__format="tfrecord")
