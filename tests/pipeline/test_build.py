"""Whole builds of a small pool on disk: every row accounted for, the same bytes however they were made."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.pipeline import build as build_module
from pairmill.pipeline import seal as seal_module
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import read_manifest
from pairmill.sharding.stats_cli import main as shard_stats
from pairmill.sharding.tar import TarAppender
from pairmill.transforms import fetch_step
from pairmill.transforms import spool as spool_module
from pairmill.transforms import write_step as write_module
from pairmill.transforms.fetch_step import fetch_lane
from pairmill.transforms.spool import SpoolSink


@pytest.fixture(autouse=True, scope="module")
def _no_sync() -> Iterator[None]:
    """What survives a loss of power is not what is tested here, and waiting for the disk takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="module")
def made(small_pool: Any, builds: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A finished build, its recipe, and its report."""
    folder = tmp_path_factory.mktemp("made")
    recipe = small_pool.recipe(folder / "r.yaml", splits={"val": "20 %"})
    return folder / "build", recipe, builds.make(recipe, folder / "build", folder / "work", lanes=2)


def test_every_planted_row_has_its_reason_and_all_others_are_kept(
    made: Any, small_pool: Any, builds: Any, ledger: Any
) -> None:
    out, recipe, _ = made
    prepared = builds.prepare(recipe, out, out.parent / "work")
    assert ledger(out, prepared) == small_pool.expected


def test_report_ledger_and_shards_agree(made: Any, small_pool: Any) -> None:
    out, _, report = made
    wanted = Counter(reason for reason in small_pool.expected.values() if reason)
    assert report["pool_rows"] == len(small_pool.expected) == report["kept"] + sum(report["rejected"].values())
    assert report["rejected"] == wanted
    assert Counter({r: n for reasons in report["rejected_by_stage"].values() for r, n in reasons.items()}) == wanted
    assert [step["name"] for step in report["steps"]] == ["read", "rules", "fetch", "duplicates"]
    assert report["steps"][0]["rows_in"] == report["pool_rows"]
    assert report["steps"][-1]["rows_out"] == report["kept"]
    assert sum(report["fetch"].values()) == report["pool_rows"] - wanted["no_caption"]
    assert json.loads((out / "report.json").read_text()) == report
    manifest = read_manifest(out / "dataset")
    assert manifest.samples == report["kept"]
    assert set(manifest.splits) == {"train", "val"}
    sizes = [samples for shards in manifest.splits.values() for samples in shards.values()]
    assert max(manifest.splits["train"].values()) - min(manifest.splits["train"].values()) <= 1
    assert sum(sizes) == report["kept"]
    metadata = pl.read_parquet(out / "dataset" / "metadata" / "*.parquet")
    assert sorted(metadata["path"]) == sorted(name for name, reason in small_pool.expected.items() if reason is None)
    assert metadata["key"].n_unique() == metadata.height == report["kept"]
    ledger = pl.read_parquet(out / "ledger" / "*.parquet")
    assert ledger.select("block", "row").n_unique() == ledger.height == report["pool_rows"]
    assert (ledger["kept"] == ledger["reason"].is_null()).all()
    survivors = ledger.filter(pl.col("survivor").is_not_null())
    assert set(survivors["reason"]) == {"duplicate_sha256", "near_duplicate"}
    kept = ledger.filter("kept").select(pl.col("block") * 65536 + pl.col("row").cast(pl.UInt64)).to_series()
    assert survivors["survivor"].is_in(kept.implode()).all()


def test_the_dataset_verifies_and_holds_nothing_of_this_machine(made: Any) -> None:
    out, _, _ = made
    assert shard_stats([str(out / "dataset"), "--verify"]) == 0
    for path in (out / "dataset").rglob("*"):
        if path.is_file():
            assert str(out.parent).encode() not in path.read_bytes()
    assert not (out / "parts").exists()


def test_a_finished_build_is_only_reported(made: Any, builds: Any, tree: Any) -> None:
    out, recipe, report = made
    before = tree(out)

    def fail(prepared: Any) -> None:
        raise AssertionError("ran again")

    assert builds.make(recipe, out, out.parent / "work", execute=fail) == report
    assert tree(out) == before


@pytest.mark.parametrize("lanes", [1, 3, 100])
def test_lanes_change_no_byte(made: Any, builds: Any, tree: Any, tmp_path: Path, lanes: int) -> None:
    out, recipe, _ = made
    builds.make(recipe, tmp_path / "again", out.parent / "work", lanes=lanes)
    assert tree(tmp_path / "again" / "dataset") == tree(out / "dataset")
    assert tree(tmp_path / "again" / "ledger") == tree(out / "ledger")


def test_another_work_folder_changes_no_byte(made: Any, builds: Any, tree: Any, tmp_path: Path) -> None:
    out, recipe, _ = made
    builds.make(recipe, tmp_path / "again", lanes=2)
    assert tree(tmp_path / "again" / "dataset") == tree(out / "dataset")


def test_every_step_done_twice_leaves_what_it_left_once(
    made: Any, builds: Any, steps: Any, tree: Any, tmp_path: Path
) -> None:
    out, recipe, _ = made
    seen = Counter()

    def twice(step: Callable[[], Any]) -> Any:
        result = step()
        first = tree(tmp_path)
        again = step()
        assert tree(tmp_path) == first, step
        assert repr(again) == repr(result)
        seen["steps"] += 1
        return again

    builds.make(recipe, tmp_path / "build", tmp_path / "work", 2, lambda ready: steps(ready, twice))
    assert seen["steps"] > 20
    assert tree(tmp_path / "build" / "dataset") == tree(out / "dataset")


class Killed(BaseException):
    """Like SIGKILL: no handler is to catch it."""


def test_killed_between_any_two_steps_it_ends_in_the_same_bytes(
    made: Any, builds: Any, steps: Any, tree: Any, tmp_path: Path
) -> None:
    out, recipe, report = made
    build, work = tmp_path / "build", tmp_path / "work"
    survived = 0
    for attempt in range(60):
        left = iter(range(attempt + 1))

        def call(step: Callable[[], Any], left: Any = left) -> Any:
            if next(left, None) is None:
                raise Killed
            return step()

        try:
            found = builds.make(recipe, build, work, 2, lambda ready, call=call: steps(ready, call))
            break
        except Killed:
            survived += 1
    assert survived > 20
    assert tree(build / "dataset") == tree(out / "dataset")
    assert tree(build / "ledger") == tree(out / "ledger")
    assert found["rejected"] == report["rejected"]
    assert found["fetch"] == report["fetch"]


@pytest.mark.parametrize(
    ("where", "what", "at"),
    [
        (TarAppender, "add", 3),  # within a block's fetch
        (SpoolSink, "close", 1),
        (fetch_step, "fetch_blocks", 1),
        (write_module, "write_formats", 1),
        (write_module, "publish_bytes", 0),  # a shard is written, but not marked
        (seal_module, "write_indexes", 0),
        (seal_module, "publish_bytes", 0),
        (seal_module, "write_manifest", 0),
        (build_module.StepStore, "pack", 0),  # the manifest is there
    ],
)
def test_killed_within_a_step_it_ends_in_the_same_bytes(
    made: Any,
    builds: Any,
    tree: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    what: str,
    at: int,
) -> None:
    out, recipe, report = made
    original, calls = getattr(where, what), iter(range(100_000))

    def killing(*args: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise Killed
        return original(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, what, killing)
        with pytest.raises((Killed, PairmillError)):
            builds.make(recipe, tmp_path / "build", tmp_path / "work", 2)
    found = builds.make(recipe, tmp_path / "build", tmp_path / "work", 2)
    assert tree(tmp_path / "build" / "dataset") == tree(out / "dataset")
    assert found["fetch"] == report["fetch"]
    assert not (tmp_path / "build" / "parts").exists()
    named = {
        spool
        for file in (tmp_path / "work" / "columns").rglob("*.parquet")
        if "fetch" in str(file)
        for spool in pl.read_parquet(file)["spool"].drop_nulls()
    }
    tars = {f"{path.parent.name}/{path.name}" for path in (tmp_path / "work" / "spool").rglob("*.tar")}
    assert tars == named  # no tar of a killed attempt is left


def test_a_second_recipe_fetches_only_what_the_first_did_not(
    small_pool: Any, builds: Any, tree: Any, ledger: Any, tmp_path: Path
) -> None:
    strict = small_pool.recipe(tmp_path / "strict.yaml", rules=[{"caption_length": {"min_words": 3}}])
    loose = small_pool.recipe(tmp_path / "loose.yaml", rules=[])
    work = tmp_path / "work"
    first = builds.make(strict, tmp_path / "one", work)
    spool = tree(work / "spool")
    second = builds.make(loose, tmp_path / "two", work)
    asked = sum(second["fetch"].values()) - sum(first["fetch"].values())
    assert asked == first["rejected"]["caption_too_few_words"] > 0
    assert spool.items() <= tree(work / "spool").items()
    alone = builds.make(loose, tmp_path / "alone")
    assert tree(tmp_path / "two" / "dataset") == tree(tmp_path / "alone" / "dataset")
    assert second["rejected"] == alone["rejected"]


def test_seeds_shuffle_and_nothing_else(small_pool: Any, builds: Any, tmp_path: Path) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    work = tmp_path / "work"
    keys = []
    for seed in ("0", "1"):
        builds.make(recipe, tmp_path / seed, work, seed=seed)
        keys.append(pl.read_parquet(tmp_path / seed / "dataset" / "metadata" / "*.parquet")["key"].to_list())
    assert keys[0] != keys[1]
    assert sorted(keys[0]) == sorted(keys[1])


def test_a_pool_of_which_nothing_is_kept_is_a_dataset_of_nothing(small_pool: Any, builds: Any, tmp_path: Path) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml", rules=[{"caption_length": {"min_words": 500}}])
    report = builds.make(recipe, tmp_path / "build")
    assert report["kept"] == 0
    assert report["pool_rows"] == sum(report["rejected"].values()) == len(small_pool.expected)
    assert read_manifest(tmp_path / "build" / "dataset").samples == 0
    assert report["fetch"] == {}


def test_a_table_without_rows_is_a_dataset_of_nothing(builds: Any, tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("url,caption\n")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("pool: {path: pool.csv}\n")
    report = builds.make(recipe, tmp_path / "build")
    assert (report["pool_rows"], report["kept"], report["rejected"]) == (0, 0, {})


def csv_pool(small_pool: Any, folder: Path, **columns: Callable[[int, str], object]) -> Path:
    """A table of the small pool's good pictures with further columns."""
    names = [name for name, reason in small_pool.expected.items() if reason is None]
    rows = {"path": names, "caption": [f"number {i}" for i in range(len(names))]}
    rows |= {column: [make(i, name) for i, name in enumerate(names)] for column, make in columns.items()}
    pl.DataFrame(rows, strict=False).write_csv(folder / "pool.csv")
    recipe = folder / "r.yaml"
    recipe.write_text(json.dumps({"pool": {"path": "pool.csv", "image_root": str(small_pool.folder)}}))
    return recipe


@pytest.mark.parametrize(
    "column",
    ["index", "key", "shard", "split", "status", "spool", "spool_offset", "stage", "reason", "survivor", "group",
     "duplicate", "own", "row_id", "place", "content", "fetched", "attempts", "fetch_seconds", "phash", "thumbnail",
     "lang", "lang_confidence", "stored_bytes", "alive", "kept", "block"],
)  # fmt: skip
def test_a_pool_may_call_its_columns_what_it_likes(small_pool: Any, builds: Any, tmp_path: Path, column: str) -> None:
    recipe = csv_pool(small_pool, tmp_path, **{column: lambda i, name: f"value {i}"})
    report = builds.make(recipe, tmp_path / "build")
    assert report["kept"] == report["pool_rows"]
    table = pl.read_parquet(tmp_path / "build" / "dataset" / "metadata" / "*.parquet")
    found = [name for name in (column, f"pool_{column}") if name in table.columns]
    values = {f"value {i}" for i in range(report["kept"])}
    assert any(set(table[name].cast(pl.String)) == values for name in found), found


def test_rows_of_one_image_share_one_fetch(small_pool: Any, builds: Any, tmp_path: Path) -> None:
    rows = [("p01.jpg", "one"), ("p02.jpg", "two"), ("p01.jpg", "three"), ("p01.jpg", "one"), ("p04.jpg", "four")]
    pl.DataFrame(rows, schema=["path", "caption"], orient="row").write_csv(tmp_path / "pool.csv")
    pool = {"path": "pool.csv", "image_root": str(small_pool.folder), "block_rows": 2}
    for name, action, reasons in (
        ("reject", "reject", {"duplicate_row": 1, "duplicate_url": 1}),
        ("measure", "measure", {"duplicate_row": 1}),
        ("off", "off", {"duplicate_row": 1}),
    ):
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(json.dumps({"pool": pool, "duplicates": dict.fromkeys(("url", "sha256", "near"), action)}))
        report = builds.make(recipe, tmp_path / name, tmp_path / "work", lanes=3)
        assert report["rejected"] == reasons
        assert report["fetch"] == {"ok": 3}


def test_one_uid_of_two_pairs_ends_the_run_with_both_places(small_pool: Any, builds: Any, tmp_path: Path) -> None:
    recipe = csv_pool(small_pool, tmp_path, uid=lambda i, name: f"{min(i, 5):032x}")
    with pytest.raises(PairmillError, match=r"stands for two different pairs, in .*row 5 and .*row 6; .*rekey: true"):
        builds.make(recipe, tmp_path / "build")
    report = builds.make(recipe, tmp_path / "rekeyed", pool__rekey="true")
    assert report["kept"] == report["pool_rows"]


def test_a_rule_on_a_column_that_nobody_has_is_refused_before_work(
    small_pool: Any, builds: Any, tmp_path: Path
) -> None:
    recipe = csv_pool(small_pool, tmp_path, lang=lambda i, name: "en")
    builds.prepare(recipe, tmp_path / "build", rules="[{column_range: {column: width, at_least: 1}}]")
    builds.prepare(recipe, tmp_path / "build", rules="[language]")
    with pytest.raises(UsageError, match="column_range needs the column 'clip', which neither the pool nor a step has"):
        builds.prepare(recipe, tmp_path / "build", rules="[{column_range: {column: clip, at_least: 1}}]")
    # The pool has lang, so no step measures the confidence.
    with pytest.raises(UsageError, match="language needs the column 'lang_confidence'"):
        builds.prepare(recipe, tmp_path / "build", rules="[{language: {min_confidence: 0.5}}]")
    assert not (tmp_path / "build").exists()


def test_a_spool_that_lost_a_tar_says_what_to_do(made: Any, builds: Any, tree: Any, tmp_path: Path) -> None:
    _, recipe, _ = made
    work = tmp_path / "work"
    builds.make(recipe, tmp_path / "one", work)
    tars = sorted((work / "spool").rglob("*.tar"))
    tars[0].unlink()
    with pytest.raises(PairmillError, match=r"\.tar is missing: the spool was changed by hand"):
        builds.make(recipe, tmp_path / "two", work, seed="9")
    tars[1].write_bytes(tars[1].read_bytes()[:700])
    with pytest.raises(PairmillError, match=r"ends before the image of|is missing"):
        builds.make(recipe, tmp_path / "three", work, seed="10")


def test_auto_makes_the_shards_that_a_topology_wants(
    made: Any, small_pool: Any, builds: Any, tree: Any, tmp_path: Path
) -> None:
    out, _, _ = made
    work = out.parent / "work"
    recipe = small_pool.recipe(tmp_path / "auto.yaml", name="r", shards={"auto": {"gpus": 2, "workers": 3}})
    report = builds.make(recipe, tmp_path / "auto", work, lanes=3)
    told = report["shards"]["splits"]["train"]
    assert told["shards"] == 6
    assert told["samples"] == report["kept"]
    assert told["because"] == "a shard for each of 6 loader workers"
    assert [note.partition(",")[0] for note in told["notes"]] == ["shards are smaller than 64 MiB"]
    tars = list((tmp_path / "auto" / "dataset").glob("*.tar"))
    assert told["bytes"] > sum(tar.stat().st_size for tar in tars)
    six = small_pool.recipe(tmp_path / "six.yaml", name="r", shards={"count": 6})
    counted = builds.make(six, tmp_path / "six", work)["shards"]["splits"]["train"]
    assert (counted["because"], counted["notes"], counted["bytes"]) == ("count", [], told["bytes"])
    assert tars_of(tree(tmp_path / "six" / "dataset")) == tars_of(tree(tmp_path / "auto" / "dataset"))


def tars_of(files: dict[str, str]) -> dict[str, str]:
    return {name: sha for name, sha in files.items() if name.endswith(".tar")}


def test_a_shard_reads_from_more_tars_than_may_be_open(
    made: Any, builds: Any, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, recipe, _ = made
    monkeypatch.setattr(spool_module, "OPEN_SPOOLS", 1)
    before = len(os.listdir("/proc/self/fd"))
    builds.make(recipe, tmp_path / "build", out.parent / "work")
    assert tree(tmp_path / "build" / "dataset") == tree(out / "dataset")
    assert len(os.listdir("/proc/self/fd")) <= before + 8


def test_rows_that_vanish_are_told_and_nothing_is_published(
    made: Any, builds: Any, steps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, recipe, _ = made

    def lose(job: Any, lane: int) -> None:
        if lane != 0:
            fetch_lane(job, lane)

    import sys

    monkeypatch.setattr(sys.modules[steps.__module__], "fetch_lane", lose)
    with pytest.raises(PairmillError, match=r"rows were never fetched, the first in input file 0, block 0+, row 0"):
        builds.make(recipe, tmp_path / "build", lanes=2)
    assert not (tmp_path / "build" / "dataset" / "manifest.json").exists()


def test_samples_that_vanish_are_told_and_nothing_is_published(
    made: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, recipe, _ = made
    finished = seal_module._finished

    def one_less(*args: Any) -> Any:
        shards, metadata, embeddings = finished(*args)
        shards["train"].pop()
        return shards, metadata, embeddings

    monkeypatch.setattr(seal_module, "_finished", one_less)
    with pytest.raises(PairmillError, match=r"rows are not accounted for: the pool has 32, kept are 24, .*written"):
        builds.make(recipe, tmp_path / "build")
    assert not (tmp_path / "build" / "dataset" / "manifest.json").exists()


def test_folders_of_others_are_refused_and_left_alone(made: Any, small_pool: Any, builds: Any, tmp_path: Path) -> None:
    out, recipe, _ = made
    work = out.parent / "work"
    other = small_pool.recipe(tmp_path / "other.yaml", seed=5, name="other")
    with pytest.raises(UsageError, match=r"is the build of another recipe or pool \(small\); choose another --out"):
        builds.make(other, out, work)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "lock").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and no build folder"):
        builds.make(recipe, foreign, work)
    with pytest.raises(UsageError, match="is not empty and no work folder"):
        builds.make(recipe, tmp_path / "new", foreign)
    assert (foreign / "lock").read_text() == "mine"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "build.json").write_text("{")
    with pytest.raises(UsageError, match=r"build\.json is damaged; choose another --out"):
        builds.make(recipe, tmp_path / "broken", work)


def test_what_a_killed_start_left_unfinished_is_no_foreign_folder(made: Any, builds: Any, tmp_path: Path) -> None:
    _, recipe, _ = made
    for folder, name in (("build", "build.json"), ("work", "work.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.tmp-0123456789ab").write_text("{")
    assert builds.make(recipe, tmp_path / "build", tmp_path / "work")["kept"] == 24


def test_a_finished_build_without_its_report_says_so(made: Any, builds: Any, tmp_path: Path) -> None:
    out, recipe, _ = made
    builds.make(recipe, tmp_path / "build", out.parent / "work")
    (tmp_path / "build" / "report.json").write_text("[")
    with pytest.raises(PairmillError, match=r"is finished, but its report\.json is missing or damaged"):
        builds.make(recipe, tmp_path / "build", out.parent / "work")


def test_blocks_of_one_row_that_are_handled_together_make_the_same_dataset(
    small_pool: Any, builds: Any, tree: Any, tmp_path: Path
) -> None:
    names = list(small_pool.expected)
    rows = [(name, f"caption {take} of {name}" if take % 5 else f"no{take}") for take in range(7) for name in names]
    pl.DataFrame(rows, schema=["path", "caption"], orient="row").write_csv(tmp_path / "pool.csv")
    recipe = tmp_path / "r.yaml"
    values = {
        "pool": {"path": "pool.csv", "image_root": str(small_pool.folder), "block_rows": 1},
        "duplicates": {"url": "measure", "sha256": "measure", "near": "measure"},
        "splits": {"val": "30 %"},
    }
    recipe.write_text(json.dumps(values))
    two_words = "[{caption_length: {min_words: 2, min_chars: 1}}]"
    first = builds.make(recipe, tmp_path / "first", tmp_path / "work", lanes=3, rules=two_words)
    assert first["pool_rows"] == len(rows) == first["kept"] + sum(first["rejected"].values())
    assert first["rejected"]["caption_too_few_words"] == 2 * len(names)
    ones = builds.make(recipe, tmp_path / "ones", tmp_path / "work", lanes=5)  # fetches further parts of blocks
    alone = builds.make(recipe, tmp_path / "alone", lanes=1)
    assert ones["kept"] == alone["kept"] == 7 * sum(r in (None, *GROUPED) for r in small_pool.expected.values())
    assert tree(tmp_path / "ones" / "dataset") == tree(tmp_path / "alone" / "dataset")
    assert tree(tmp_path / "ones" / "ledger") == tree(tmp_path / "alone" / "ledger")
    table = pl.read_parquet(tmp_path / "ones" / "dataset" / "metadata" / "*.parquet", include_file_paths="file")
    split = table.with_columns(split=pl.col("shard").str.split("-").list.first())
    assert split["split"].n_unique() == 2
    # One image, and one that is alike, lie in one split.
    alike = pl.col("path").replace({"q-copy.jpg": "p01.jpg", "q-small.jpg": "p02.jpg"})
    assert split.group_by(alike).agg(pl.col("split").n_unique())["split"].max() == 1


#: Reasons that are none where everything is kept, of whatever caption or size.
GROUPED = ("duplicate_sha256", "near_duplicate", "no_caption", "image_too_small")
