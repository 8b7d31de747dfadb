"""The main job on real photographs behind a real web server: every planted row has its reason, all others are kept."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import polars as pl
import pytest
import webdataset as wds
from PIL import Image

from pairmill.pipeline.demo.faults import KEPT
from pairmill.pipeline.demo.pool import truth_of_pool
from pairmill.pipeline.demo.truth import truth_table
from pairmill.runners.demo_command import ledger_rows

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "photos"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.nginx,
    pytest.mark.slow,
    pytest.mark.xdist_group("flink"),
    pytest.mark.skipif(NGINX is None, reason="nginx is not on this machine (Debian: apt-get install nginx-light)"),
]


@dataclass(frozen=True)
class Finished:
    build: Path
    pool: pl.DataFrame

    @property
    def dataset(self) -> Path:
        return self.build / "dataset"

    def metadata(self) -> pl.DataFrame:
        return pl.concat([pl.read_parquet(path) for path in sorted((self.dataset / "metadata").glob("*.parquet"))])


@pytest.fixture(scope="module")
def finished(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of the example with two workers, as a user would start it."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        make_pool = importlib.import_module("make_pool").make_pool
        serve = importlib.import_module("serve").serve
    finally:
        sys.path.remove(str(EXAMPLE))
    folder = tmp_path_factory.mktemp("photos")
    (folder / "www").mkdir()
    with serve(folder) as base_url:
        pool = make_pool(folder, shared_data, base_url)
        command = [sys.executable, "-m", "pairmill.runners.cli", "run", str(EXAMPLE / "photos.yaml")]
        command += ["--pool", str(pool), "--out", str(folder / "build"), "--workers", "2"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert run.returncode == 0, run.stderr
    return Finished(folder / "build", pl.read_parquet(pool).with_row_index("row"))


def test_every_planted_row_has_its_reason_and_every_other_row_is_kept(finished: Finished) -> None:
    truth = truth_of_pool(finished.build.parent / "pool.parquet")
    table = truth_table(truth, ledger_rows(finished.build))
    wrong = table.filter(pl.col("otherwise") > 0)
    assert wrong.is_empty(), str(wrong)
    assert truth.height >= 1500
    assert table.filter(planted="").get_column("as_expected").item() > 1000


def test_the_ledger_names_the_planted_survivors(finished: Finished) -> None:
    ledger = pl.concat([pl.read_parquet(path) for path in sorted((finished.build / "ledger").glob("*.parquet"))])
    blocks = ledger.group_by("block").len().sort("block").with_columns(before=pl.col("len").cum_sum() - pl.col("len"))
    # A survivor is a row id; the place in the pool is the rows before its block and its row within it.
    found = (
        ledger.with_row_index("row_in_pool")
        .with_columns(survivor_block=pl.col("survivor") // (1 << 16), survivor_row=pl.col("survivor") % (1 << 16))
        .join(blocks.select(survivor_block="block", before="before"), on="survivor_block", how="left")
        .select(row="row_in_pool", survivor=pl.col("before") + pl.col("survivor_row"))
        .sort("row")
    )
    planted = finished.pool.select("row", "expect_survivor").filter(pl.col("expect_survivor") >= 0)
    joined = planted.join(found, on="row")
    assert joined.height > 100
    assert joined.get_column("survivor").to_list() == joined.get_column("expect_survivor").to_list()


def test_the_numbers_agree_everywhere(finished: Finished) -> None:
    report = json.loads((finished.build / "report.json").read_text())
    manifest = json.loads((finished.dataset / "manifest.json").read_text())
    kept = finished.pool.filter(expect=KEPT).height
    assert report["pool_rows"] == finished.pool.height
    assert report["kept"] == kept == manifest["samples"] == finished.metadata().height
    assert report["pool_rows"] == report["kept"] + sum(report["rejected"].values())


def test_sizes_and_hashes_are_those_of_the_stored_pictures(finished: Finished) -> None:
    metadata = {row["key"]: row for row in finished.metadata().iter_rows(named=True)}
    by_url = finished.pool.unique("url", keep="none").filter(pl.col("expect_width") > 0)
    expected = {row["url"]: (row["expect_width"], row["expect_height"]) for row in by_url.iter_rows(named=True)}
    checked = 0
    shards = sorted(str(path) for path in finished.dataset.glob("*.tar"))
    for sample in wds.WebDataset(shards, shardshuffle=False, empty_check=False):
        row = metadata[sample["__key__"]]
        image = Image.open(io.BytesIO(sample["jpg"]))
        assert image.size == (row["width"], row["height"])
        assert str(imagehash.phash(image)) == f"{row['phash']:016x}"
        assert sample["txt"].decode() == row["caption"]
        assert json.loads(sample["json"])["source"] == row["source"]
        if row["url"] in expected:
            assert (row["original_width"], row["original_height"]) == expected[row["url"]]
            checked += 1
    assert checked > 1000


def test_shard_stats_finds_no_fault(finished: Finished) -> None:
    command = [sys.executable, "-m", "pairmill.sharding.stats_cli", str(finished.dataset), "--json", "--verify"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    told: dict[str, Any] = json.loads(run.stdout)
    assert run.returncode == 0, run.stderr
    assert told["samples"] == finished.metadata().height
    counts = [len(list(finished.dataset.glob(f"{split}-*.tar"))) for split in ("train", "val")]
    assert told["shards"] == sum(counts)
    assert min(counts) >= 1


def test_a_flink_cluster_makes_the_same_dataset_of_the_same_spool(
    finished: Finished, flink: Any, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pairmill.runners.cli", "run", str(EXAMPLE / "photos.yaml")]
    command += ["--pool", str(finished.build.parent / "pool.parquet"), "--out", str(tmp_path / "build")]
    command += ["--work", str(finished.build / "work"), *flink.options()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr
    again, before = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "build" / "dataset", finished.dataset)
    )
    assert len(again) > 10
    assert again == before
