"""``pairmill run --steps select`` as people run it: one process and several, and Beam's portable runner."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from apache_beam.runners.portability.local_job_service import LocalJobServicer

from pairmill.runners.cli import main

ROWS, FILES = 4000, 8


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over a pool of eight files with ties, repeated rows and copied images."""
    folder = tmp_path_factory.mktemp("pool")
    chance = np.random.default_rng(0)
    number = np.where(chance.random(ROWS) < 0.02, chance.integers(0, 50, ROWS), np.arange(ROWS))
    frame = pl.DataFrame(
        {
            "uid": [hashlib.md5(str(n).encode()).hexdigest() for n in number.tolist()],
            "url": [f"http://example.com/{n}.jpg" for n in number.tolist()],
            "text": [f"caption of number {n}" if n % 10 else "short" for n in number.tolist()],
            "score": (number % 97 / 97).astype(np.float32),
            "sha256": [hashlib.sha256(str(n // 2).encode()).hexdigest() for n in number.tolist()],
        }
    )
    for part in range(FILES):
        frame[part::FILES].write_parquet(folder / f"{part}.parquet")
    recipe = {
        "name": "runs",
        "pool": {"path": str(folder), "preset": "datacomp", "block_rows": 100},
        "language": "off",
        "rules": ["caption_length"],
        "select": [{"column": "score", "fraction": 0.7, "of": "pool"}, {"column": "score", "rows": 1000}],
        "duplicates": {"near": "off"},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path


def written(out: Path) -> dict[str, str]:
    """The digests of ledger and uids."""
    files = [*sorted((out / "ledger").glob("*")), out / "selection" / "uids.npy"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def one(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build by one process."""
    out = tmp_path_factory.mktemp("one") / "build"
    assert main(["run", str(recipe), "--out", str(out), "--steps", "select", "--quiet"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["pool_rows"], report["kept"]) == (ROWS, 1000)
    assert {"duplicate_row", "duplicate_sha256", "score_not_selected"} <= set(report["rejected"])
    return out


@pytest.fixture(scope="module")
def by_one(one: Path) -> dict[str, str]:
    found = written(one)
    assert len(found) == FILES + 1  # a span a file
    return found


def test_ledger_and_status_tell_of_a_pool_that_was_read_in_place(
    recipe: Path, one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", str(one), "--reason", "duplicate_sha256", "--to", str(tmp_path / "l.parquet")]) == 0
    told = pl.read_parquet(tmp_path / "l.parquet")
    images = {caption: int(caption.split()[-1]) // 2 for caption in told["caption"].to_list()}
    pool = pl.read_parquet(recipe.parent / "*.parquet").unique("uid")
    survivors = dict(pool.select("uid", "text").iter_rows())
    assert told.height == len(images) > 100
    for uid, caption in told.select("survivor_uid", "caption").iter_rows():
        assert int(survivors[uid].split()[-1]) // 2 == images[caption]
    assert main(["status", str(one)]) == 0
    assert "selected by the pool's own columns" in capsys.readouterr().out


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_change_no_byte(recipe: Path, by_one: dict[str, str], tmp_path: Path, workers: int) -> None:
    out = tmp_path / "build"
    assert main(["run", str(recipe), "--out", str(out), "--steps", "select", "--workers", str(workers)]) == 0
    assert written(out) == by_one


def test_the_portable_runner_changes_no_byte(recipe: Path, by_one: dict[str, str], tmp_path: Path) -> None:
    service = LocalJobServicer(str(tmp_path / "staged"))
    where = ["--job-endpoint", f"localhost:{service.start_grpc_server()}", "--environment-type", "LOOPBACK"]
    try:
        command = ["run", str(recipe), "--out", str(tmp_path / "build"), "--steps", "select", "--workers", "2"]
        assert main([*command, "--runner", "portable", *where]) == 0
    finally:
        service.stop()
    assert written(tmp_path / "build") == by_one


def test_an_error_of_a_step_is_one_line(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pl.read_parquet(recipe.parent / "0.parquet").with_columns(uid=pl.lit("a" * 32))
    frame.write_parquet(tmp_path / "pool.parquet")
    command = ["run", str(recipe), "--pool", str(tmp_path / "pool.parquet"), "--out", str(tmp_path / "build")]
    assert main([*command, "--steps", "select", "--quiet"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "stands for two different pairs" in told
