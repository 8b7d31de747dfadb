"""Builds whose shards are groups: each with its own equal shards, every sample in the right one, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pairmill.runners.cli import main
from pairmill.sharding.errors import UsageError
from pairmill.sharding.manifest import read_manifest
from pairmill.sharding.removal import plan_removal, remove_samples
from pairmill.sharding.reshard import reshard
from pairmill.sharding.reshard_plan import ReshardSettings
from pairmill.sharding.stats_cli import examine, find_shards
from pairmill.sharding.stats_cli import main as shard_stats
from pairmill.transforms import write_step as write_module


@pytest.fixture(scope="module")
def pool(small_pool: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What writes a recipe over the small pool's good files with a source and a quality, and the table of it."""
    folder = tmp_path_factory.mktemp("groups")
    names = [name for name, reason in small_pool.expected.items() if reason is None]
    frame = pl.DataFrame(
        {
            "path": names,
            "caption": [f"a picture of number {number}" for number in range(len(names))],
            "source": [[None, "Web", "Web", "books & more"][number % 4] for number in range(len(names))],
            "quality": [None if number == 5 else number / len(names) for number in range(len(names))],
        }
    )
    frame.write_parquet(folder / "pool.parquet")
    told = {"path": str(folder / "pool.parquet"), "image_root": str(small_pool.folder), "block_rows": 4}

    def write(name: str, **keys: Any) -> Path:
        keys = {"splits": {"val": "25 %"}, **keys}
        return Path(small_pool.recipe(folder / f"{name}.yaml", pool=told, **keys))

    return write, frame


def metadata(build: Path) -> pl.DataFrame:
    return metadata_of(build / "dataset")


def metadata_of(dataset: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in sorted((dataset / "metadata").glob("*.parquet"))])


def part(frame: pl.DataFrame) -> pl.Series:
    """The split and group in the names of shards."""
    return frame["shard"].str.replace(r"-\d{5}-of-\d{5}$", "")


def test_each_group_has_shards_of_its_own(pool: Any, builds: Any, tree: Any, tmp_path: Path) -> None:
    recipe, _ = pool
    path = recipe("sources", shards={"count": 2, "groups": {"by": "source"}})
    plain = recipe("plain", shards={"count": 2})
    work = tmp_path / "work"
    report = builds.make(path, tmp_path / "one", work)
    builds.make(plain, tmp_path / "plain", work)
    dataset = tmp_path / "one" / "dataset"
    assert not examine(find_shards(dataset), verify=True).faults
    rows, whole = metadata(tmp_path / "one"), metadata(tmp_path / "plain")
    assert rows.height == report["kept"]
    assert rows.drop("shard", "index").sort("key").equals(whole.drop("shard", "index").sort("key"))
    told = {"Web": "web", "books & more": "books_more", None: "none"}
    wanted = [told[source] for source in rows["source"]]
    assert [name.split("-")[1] for name in part(rows)] == wanted
    split = dict(zip(whole["key"], part(whole), strict=True))  # which split a row is in does not depend on groups
    assert [name.split("-")[0] for name in part(rows)] == [split[key] for key in rows["key"]]
    manifest = read_manifest(dataset)
    assert next(iter(manifest.splits)) == "train-books_more"
    assert {name.split("-")[1] for name in manifest.splits} == {"web", "books_more", "none"}
    assert manifest.groups["by"] == "source"
    assert manifest.groups["groups"] == {"books_more": ["books & more"], "web": ["Web"], "none": [None]}
    for shards in manifest.splits.values():
        assert len(shards) == min(2, sum(shards.values()))
        assert max(shards.values()) - min(shards.values()) <= 1
    builds.make(path, tmp_path / "two", work, lanes=4)
    assert tree(tmp_path / "one" / "dataset") == tree(tmp_path / "two" / "dataset")


def test_the_indexes_know_groups_and_splits(pool: Any, builds: Any, tmp_path: Path, capsys: Any) -> None:
    recipe, _ = pool
    builds.make(recipe("indexed", shards={"count": 2, "groups": {"by": "source"}}), tmp_path / "build")
    dataset = tmp_path / "build" / "dataset"
    parts = yaml.safe_load((dataset / ".nv-meta" / "split.yaml").read_text())["split_parts"]
    assert parts["train"] == [pattern for name in ("books_more", "web", "none") for pattern in parts[f"train-{name}"]]
    assert {f"{name}.tar" for name in read_manifest(dataset).shards} == set(
        json.loads((dataset / "sizes.json").read_bytes())
    )
    train = {shard["url"] for shard in json.loads((dataset / "shardindex.json").read_bytes())["shardlist"]}
    assert train == {path.name for path in dataset.glob("train-*.tar")}
    web = {shard["url"] for shard in json.loads((dataset / "shardindex-train-web.json").read_bytes())["shardlist"]}
    assert web == {path.name for path in dataset.glob("train-web-*.tar")}
    configs = {
        config["config_name"]: {told["split"]: told["path"] for told in config["data_files"]}
        for config in yaml.safe_load((dataset / "README.md").read_text().split("---\n")[1])["configs"]
    }
    assert configs["default"]["train"] == "train-*-of-*.tar"
    assert configs["web"]["train"] == "train-web-*-of-*.tar"
    assert set(configs) == {"default", "web", "books_more", "none"}
    statistics = examine(find_shards(dataset, ("train",)), verify=True)
    assert not statistics.faults
    assert set(statistics.statistics.splits) == {"train-web", "train-books_more", "train-none"}
    assert shard_stats([str(dataset), "--verify", "--splits", "train-web"]) == 0
    assert shard_stats([str(dataset), "--splits", "train-nowhere"]) == 2
    capsys.readouterr()
    assert main(["subset", str(tmp_path / "build"), "--out", str(tmp_path / "s.npy"), "--split", "train-web"]) == 0
    assert f"{sum(read_manifest(dataset).splits['train-web'].values())} uids" in capsys.readouterr().out


def test_datasets_reads_a_group_as_a_configuration(pool: Any, builds: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    recipe, frame = pool
    builds.make(recipe("hub", splits={}, shards={"groups": {"by": "source"}}), tmp_path / "build")
    folder = str(tmp_path / "build" / "dataset")
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset(folder, "web", split="train", cache_dir=cache)
    assert {row["source"] for row in rows["json"]} == {"Web"}
    assert len(rows) == frame.filter(pl.col("source") == "Web").height
    assert len(datasets.load_dataset(folder, split="train", cache_dir=cache)) == frame.height


def test_tiers_copies_and_mds(pool: Any, builds: Any, tmp_path: Path) -> None:
    recipe, _ = pool
    shards = {
        "samples_per_shard": 5,
        "format": "both",
        "groups": {"by": "quality", "cuts": [0.3, 0.6], "names": ["low", "mid", "high"]},
    }
    path = recipe("tiers", splits={}, shards=shards, mixture={"by": "source", "groups": {"Web": {"weight": 2}}})
    builds.make(path, tmp_path / "build")
    assert not examine(find_shards(tmp_path / "build"), verify=True).faults
    rows = metadata(tmp_path / "build")
    assert rows["copy"].max() == 1
    for name, low, high in (("low", -1, 0.3), ("mid", 0.3, 0.6), ("high", 0.6, 2)):
        mine = rows.filter(part(rows) == f"train-{name}")
        assert (
            mine["key"].to_list()
            == rows.filter(pl.col("quality").is_between(low, high, closed="left"))
            .sort("shard", "index")["key"]
            .to_list()
        )
        index = json.loads((tmp_path / "build" / "dataset" / "mds" / f"train-{name}" / "index.json").read_bytes())
        assert sum(shard["samples"] for shard in index["shards"]) == mine.height
    assert (
        rows.filter(part(rows) == "train-none")["quality"].to_list() == [None] * 2
    )  # it is of a source that is written twice
    assert list(read_manifest(tmp_path / "build" / "dataset").splits) == [
        "train-low",
        "train-mid",
        "train-high",
        "train-none",
    ]


def test_small_groups(pool: Any, builds: Any, tmp_path: Path) -> None:
    recipe, _ = pool
    groups = {"by": "source", "min_samples": 8}
    work = tmp_path / "work"
    builds.make(recipe("joined", shards={"groups": groups}), tmp_path / "joined", work)
    manifest = read_manifest(tmp_path / "joined" / "dataset")
    assert manifest.groups["groups"] == {"web": ["Web"], "other": ["books & more"], "none": [None]}
    refused = recipe("refused", shards={"groups": {**groups, "small": "refuse"}})
    with pytest.raises(UsageError, match=r"books & more \(6\) of 'source' have fewer than 8 samples"):
        builds.make(refused, tmp_path / "refused", work)


class Killed(BaseException):
    """Like SIGKILL."""


def test_killed_it_ends_in_the_same_bytes(
    pool: Any, builds: Any, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, _ = pool
    path = recipe("killed", shards={"count": 2, "groups": {"by": "source"}})
    original, calls = write_module.write_formats, iter(range(100))

    def killing(*args: Any) -> Any:
        if next(calls) == 3:
            raise Killed
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(write_module, "write_formats", killing)
        with pytest.raises(Killed):
            builds.make(path, tmp_path / "one", tmp_path / "work")
    builds.make(path, tmp_path / "one", tmp_path / "work")
    builds.make(path, tmp_path / "two", tmp_path / "work")
    assert tree(tmp_path / "one" / "dataset") == tree(tmp_path / "two" / "dataset")


def test_reshard_and_remove_keep_the_groups(pool: Any, builds: Any, tmp_path: Path) -> None:
    recipe, _ = pool
    builds.make(recipe("kept", splits={}, shards={"count": 2, "groups": {"by": "source"}}), tmp_path / "build")
    dataset = tmp_path / "build" / "dataset"
    old = read_manifest(dataset)
    reshard(dataset, tmp_path / "new", ReshardSettings(count=3))
    new = read_manifest(tmp_path / "new")
    assert not examine(find_shards(tmp_path / "new"), verify=True).faults
    assert new.groups == old.groups
    assert {name: sum(shards.values()) for name, shards in new.splits.items()} == {
        name: sum(shards.values()) for name, shards in old.splits.items()
    }
    assert {len(shards) for shards in new.splits.values()} == {3}
    assert (tmp_path / "new" / "shardindex-train-web.json").is_file()
    uid = metadata(tmp_path / "build").filter(pl.col("source") == "Web")["uid"][:1]
    remove_samples(plan_removal(dataset, "uid", uid))
    assert not examine(find_shards(dataset), verify=True).faults
    assert read_manifest(dataset).groups == old.groups
    with pytest.raises(UsageError, match="datacomp has one row of shards"):
        reshard(dataset, tmp_path / "other", ReshardSettings(layout="datacomp"))


def test_datacomp_layout_of_a_recipe(pool: Any, builds: Any, tmp_path: Path) -> None:
    recipe, frame = pool
    path = recipe("datacomp", splits={}, shards={"count": 3, "layout": "datacomp"})
    report = builds.make(path, tmp_path / "build")
    dataset = tmp_path / "build" / "dataset"
    assert sorted(file.name for file in dataset.glob("*.tar")) == [f"{number:08d}.tar" for number in range(3)]
    counts = read_manifest(dataset).splits["train"]
    for name, samples in counts.items():
        assert json.loads((dataset / f"{name}_stats.json").read_bytes()) == {"successes": samples}
    assert json.loads((dataset / "meta.json").read_bytes()) == {
        "output_shard_format": "{:08d}.tar",
        "output_shard_count": 3,
        "processed_count": frame.height,
        "output_count": report["kept"],
    }
    assert not examine(find_shards(dataset), verify=True).faults
    reshard(dataset, tmp_path / "again", ReshardSettings(count=3, layout="datacomp"))
    for number in range(3):
        name = f"{number:08d}.tar"
        assert (dataset / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    uid = metadata(tmp_path / "build")["uid"][:1]
    remove_samples(plan_removal(dataset, "uid", uid))
    assert not examine(find_shards(dataset), verify=True).faults
    assert json.loads((dataset / "meta.json").read_bytes())["output_count"] == report["kept"] - 1
    told = [json.loads(file.read_bytes())["successes"] for file in sorted(dataset.glob("*_stats.json"))]
    assert told == list(read_manifest(dataset).splits["train"].values())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"shards": {"groups": {"by": "nowhere"}}}, "shards.groups.by: neither the pool nor a step has the column"),
        ({"shards": {"groups": {"by": "quality"}}}, "'quality' is of type Float64; group by text or whole numbers"),
        ({"shards": {"groups": {"by": "source", "cuts": [1]}}}, "'source' is of type String; cuts need numbers"),
        ({"shards": {"groups": {"by": "source", "tiers": 3}}}, "shards.groups.tiers: there is no such key"),
        ({"shards": {"layout": "datacomp"}}, "shards.layout: datacomp has one row of shards, and so no splits"),
        ({"shards": {"layout": "datacomp", "groups": {"by": "source"}}}, "and so no groups"),
        ({"shards": {"layout": "datacomp", "format": "mds"}}, "layout: datacomp is one of tars"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(
    pool: Any, builds: Any, tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    recipe, _ = pool
    with pytest.raises(UsageError, match=message):
        builds.prepare(recipe("wrong", **keys), tmp_path / "build")


def test_groups_in_a_global_order(pool: Any, builds: Any, tree: Any, tmp_path: Path) -> None:
    recipe, frame = pool
    work = tmp_path / "work"
    shards = {"count": 2, "format": "both", "order": "global", "groups": {"by": "source"}}
    for name, keys in (("random", {}), ("two_passes", {"random_read_bytes": 1})):
        builds.make(recipe(name, shards={**shards, **keys}), tmp_path / name, work)
        assert not examine(find_shards(tmp_path / name), verify=True).faults
    rows, again = metadata(tmp_path / "random"), metadata(tmp_path / "two_passes")
    told = {"Web": "web", "books & more": "books_more", None: "none"}
    assert rows.height == frame.height
    for samples in (rows, again):
        assert [name.split("-")[1] for name in part(samples)] == [told[source] for source in samples["source"]]
    tars = {name: sha for name, sha in tree(tmp_path / "random" / "dataset").items() if name.endswith(".tar")}
    assert tars == {
        name: sha for name, sha in tree(tmp_path / "two_passes" / "dataset").items() if name.endswith(".tar")
    }


def test_reshard_makes_the_groups_of_a_recipe(pool: Any, builds: Any, tmp_path: Path) -> None:
    recipe, _ = pool
    work = tmp_path / "work"
    builds.make(recipe("plain", shards={"count": 2}), tmp_path / "plain", work)
    builds.make(recipe("grouped", shards={"count": 2, "groups": {"by": "source"}}), tmp_path / "grouped", work)
    plain, grouped = tmp_path / "plain" / "dataset", tmp_path / "grouped" / "dataset"
    again = tmp_path / "again"
    command = ["reshard", str(plain), str(again), "--shards", "2", "--group-by", "source", "--quiet"]
    assert main(command) == 0
    assert not examine(find_shards(again), verify=True).faults
    new, old = read_manifest(again), read_manifest(grouped)
    assert new.groups == old.groups
    assert new.splits == old.splits
    keys = {name: set(metadata_of(again).filter(part(metadata_of(again)) == name)["key"]) for name in new.splits}
    assert keys == {
        name: set(metadata_of(grouped).filter(part(metadata_of(grouped)) == name)["key"]) for name in old.splits
    }
    tiers = tmp_path / "tiers"  # of a dataset that has groups already: others
    told = ["--group-by", "quality", "--group-cuts", "0.3,0.6", "--group-names", "low,mid,high", "--group-min", "3"]
    assert main(["reshard", str(grouped), str(tiers), "--samples-per-shard", "4", "--quiet", *told]) == 0
    assert not examine(find_shards(tiers), verify=True).faults
    assert list(read_manifest(tiers).groups["groups"]) == ["low", "mid", "high", "none"]
    rows = metadata_of(tiers)
    assert rows.filter(pl.col("quality") >= 0.6)["shard"].str.contains("-high-").all()
    assert sorted(rows["key"]) == sorted(metadata_of(plain)["key"])
    assert {name.split("-")[0] for name in read_manifest(tiers).splits} == {"train", "val"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--group-cuts", "1,2"], "--group-by: name the column"),
        (["--group-by", "nowhere"], "have no column 'nowhere'"),
        (["--group-by", "quality"], "shard groups: 'quality' is of type Float64"),
        (["--group-by", "source", "--group-cuts", "x"], "--group-by: could not convert"),
        (["--group-by", "source", "--layout", "datacomp"], "and so no groups"),
    ],
)
def test_groups_that_reshard_refuses(
    pool: Any, builds: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    recipe, _ = pool
    builds.make(recipe("plain", shards={"count": 2}), tmp_path / "plain")
    assert main(["reshard", str(tmp_path / "plain"), str(tmp_path / "new"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
