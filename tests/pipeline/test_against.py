"""Builds against earlier ones: what these have is left out, before the fetch where that can be known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pairmill.pipeline.recipe import load_recipe
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.pair import pair_uid


def patches(seed: int, width: int = 96, height: int = 80) -> Image.Image:
    grid = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def pools(tmp_path: Path) -> Any:
    """Writes a pool of local pictures with URLs, as tars of an earlier download have: (name, seed, url, caption)."""

    def write(name: str, rows: list[tuple[str, int, str | None, str]], **sections: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, seed, _, _ in rows:
            patches(seed).save(folder / file, quality=90)
        table = {"path": [r[0] for r in rows], "url": [r[2] for r in rows], "caption": [r[3] for r in rows]}
        pl.DataFrame(table, schema_overrides={"url": pl.String}).write_parquet(folder / "pool.parquet")
        pool = {"path": str(folder / "pool.parquet"), "image_root": str(folder), "block_rows": 2}
        recipe = {"name": name, "pool": pool, "language": "off", "shards": {"count": 1}, **sections}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        return tmp_path / f"{name}.yaml"

    return write


FIRST = [
    ("a.jpg", 1, "http://one.example/a.jpg", "first"),
    ("b.jpg", 2, "http://one.example/b.jpg", "second"),
    ("c.jpg", 3, "http://one.example/c.jpg", "third"),
    ("d.jpg", 4, None, "fourth"),
    ("e.jpg", 1, "http://one.example/e.jpg", "the first again"),  # a duplicate: not in the build
]
LATER = [
    ("a.jpg", 11, "http://one.example/a.jpg", "first"),  # the same pair, whatever is there now
    ("b2.jpg", 12, "http://one.example/b.jpg", "another caption"),  # its URL
    ("c2.jpg", 3, "http://two.example/c.jpg", "the bytes of another place"),
    ("d2.jpg", 4, None, "by its bytes"),
    ("e.jpg", 15, "http://one.example/e.jpg", "the first again"),  # that pair was rejected: it is new
    ("d.jpg", 16, None, "fourth"),  # path and caption of an earlier pair, and another picture
    ("new.jpg", 17, "http://two.example/new.jpg", "new"),
]


def reasons(builds: Any, ledger: Any, recipe: Path, out: Path, lanes: int = 1) -> dict[str, str | None]:
    builds.make(recipe, out, lanes=lanes)
    return dict(ledger(out, builds.prepare(recipe, out)))


def test_a_later_build_has_only_what_the_earlier_one_has_not(
    pools: Any, builds: Any, ledger: Any, tmp_path: Path
) -> None:
    first = reasons(builds, ledger, pools("first", FIRST), tmp_path / "one")
    assert first == {"a.jpg": None, "b.jpg": None, "c.jpg": None, "d.jpg": None, "e.jpg": "duplicate_sha256"}
    later = pools("later", LATER, against=["one"])
    assert reasons(builds, ledger, later, tmp_path / "two", lanes=2) == {
        "a.jpg": "in_build_uid",
        "b2.jpg": "in_build_url",
        "c2.jpg": "in_build_sha256",
        "d2.jpg": "in_build_sha256",
        "e.jpg": None,
        "d.jpg": None,
        "new.jpg": None,
    }
    report = json.loads((tmp_path / "two" / "report.json").read_text())
    assert report["rejected_by_stage"]["rules"] == {"in_build_uid": 1, "in_build_url": 1}
    assert report["rejected_by_stage"]["duplicates"] == {"in_build_sha256": 2}
    assert report["fetch"] == {"ok": 5}  # what is known by its place was not read
    assert report["against"] == [{"build": "one", "rows": 4}]


def test_resized_pictures_are_found_and_no_survivor_of_their_duplicates(
    pools: Any, builds: Any, ledger: Any, tmp_path: Path
) -> None:
    reasons(builds, ledger, pools("first", FIRST), tmp_path / "one")
    later = pools("later", [("x.jpg", 30, None, "x"), ("y.jpg", 31, None, "y")], against=["one"])
    patches(3, 288, 240).save(tmp_path / "later" / "x.jpg", quality=70)
    patches(3, 290, 240).save(tmp_path / "later" / "y.jpg", quality=80)
    assert reasons(builds, ledger, later, tmp_path / "two") == {"x.jpg": "in_build_near", "y.jpg": "in_build_near"}
    without = pools("without", [("x.jpg", 30, None, "x")], against=["one"], duplicates={"near": "measure"})
    patches(3, 288, 240).save(tmp_path / "without" / "x.jpg", quality=70)
    assert reasons(builds, ledger, without, tmp_path / "three") == {"x.jpg": None}


def test_several_builds_and_the_union_holds_each_picture_once(
    pools: Any, builds: Any, ledger: Any, tmp_path: Path
) -> None:
    reasons(builds, ledger, pools("first", FIRST), tmp_path / "one")
    reasons(builds, ledger, pools("later", LATER, against=["one"]), tmp_path / "two")
    third = pools("third", [*FIRST[:2], LATER[6], ("z.jpg", 99, None, "z")], against=["one", "two"])
    assert reasons(builds, ledger, third, tmp_path / "three") == {
        "a.jpg": "in_build_uid", "b.jpg": "in_build_uid", "new.jpg": "in_build_uid", "z.jpg": None
    }  # fmt: skip
    kept = pl.concat([pl.read_parquet(tmp_path / name / "kept" / "*.parquet") for name in ("one", "two", "three")])
    assert kept.height == kept.select("sha_hi", "sha_lo").n_unique() == 8


def test_the_index_is_the_same_for_any_lanes_and_says_what_was_kept(
    pools: Any, builds: Any, tree: Any, tmp_path: Path
) -> None:
    recipe = pools("first", FIRST)
    builds.make(recipe, tmp_path / "one", tmp_path / "work")
    builds.make(recipe, tmp_path / "three", tmp_path / "work", lanes=3)
    assert tree(tmp_path / "one" / "kept") == tree(tmp_path / "three" / "kept")
    kept = pl.read_parquet(tmp_path / "one" / "kept" / "*.parquet")
    metadata = pl.read_parquet(tmp_path / "one" / "dataset" / "metadata" / "*.parquet")
    uids = {f"{high:016x}{low:016x}" for high, low in kept.select("uid_hi", "uid_lo").rows()}
    assert uids == set(metadata["uid"])
    assert kept["url_hi"].null_count() == 1
    assert kept["thumbnail"].bin.size().to_list() == [192] * 4
    assert pair_uid("http://one.example/a.jpg", "first") in uids


def test_another_earlier_build_is_another_build(pools: Any, builds: Any, tmp_path: Path) -> None:
    builds.make(pools("first", FIRST), tmp_path / "one")
    builds.make(pools("other", FIRST[:2]), tmp_path / "other_build")

    def fingerprint(*against: str) -> str:
        recipe = load_recipe(tmp_path / "later.yaml", against=[tmp_path / name for name in against])
        from pairmill.pipeline.prepare import prepare

        return prepare(recipe, tmp_path / "b", tmp_path / "b" / "work", 1).recipe_fingerprint()

    pools("later", LATER)
    shutil.copytree(tmp_path / "one", tmp_path / "copied")
    assert len({fingerprint(), fingerprint("one"), fingerprint("other_build"), fingerprint("one", "other_build")}) == 4
    assert fingerprint("one") == fingerprint("copied")


def test_what_is_no_earlier_build_is_told_before_work(pools: Any, builds: Any, tmp_path: Path) -> None:
    builds.make(pools("first", FIRST), tmp_path / "one")
    (tmp_path / "nothing").mkdir()
    shutil.copytree(tmp_path / "one", tmp_path / "torn")
    next((tmp_path / "torn" / "kept").glob("*.parquet")).write_bytes(b"less")
    faults = {
        "gone": "against: there is no build",
        "nothing": r"has no kept/index.json: it is not finished",
        "torn": "is missing or cut",
        "later_build": "is the build that is to be made",
    }
    recipe = pools("later", LATER)
    for name, told in faults.items():
        with pytest.raises(UsageError, match=told):
            builds.make(recipe, tmp_path / "later_build", against=json.dumps([name]))
    cropped = pools("cropped", LATER, against=["one"], image={"resize_mode": "center_crop"})
    with pytest.raises(UsageError, match="stored with resize_mode keep_ratio_largest"):
        builds.make(cropped, tmp_path / "cropped_build")
    file = next((tmp_path / "one" / "kept").glob("*.parquet"))
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(PairmillError, match="is not what its index says"):
        builds.make(recipe, tmp_path / "later_build", against=json.dumps(["one"]))


def test_an_empty_earlier_build_holds_nothing(pools: Any, builds: Any, ledger: Any, tmp_path: Path) -> None:
    builds.make(pools("none", FIRST, rules=[{"image_size": {"min_side": 1000}}]), tmp_path / "one")
    told = reasons(builds, ledger, pools("later", FIRST[:4], against=["one"]), tmp_path / "two")
    assert set(told.values()) == {None}
