"""Whole runs on Beam's local runner: the same bytes as the steps alone, and one line of what goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.pipeline.build import run_build
from pairmill.pipeline.prepare import prepare
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.recipe import load_recipe
from pairmill.runners import direct
from pairmill.runners.cli import main
from pairmill.runners.plain_error import told_plainly
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.runners.submit import run_on
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.transforms.pool.spec import PoolError
from pairmill.transforms.wiring import build_dataset


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _run_here(ready: Prepared) -> None:
    run_on(RunnerChoice(), ready.segments, build_dataset.BuildDataset(ready.job), ready.job)


@pytest.fixture(scope="module")
def recipe(small_pool: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pool.recipe(tmp_path_factory.mktemp("recipe") / "r.yaml", splits={"val": "20 %"})


@pytest.fixture(scope="module")
def one(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build by the real command with one worker."""
    folder = tmp_path_factory.mktemp("one")
    code = main(
        ["run", str(recipe), "--out", str(folder / "build"), "--work", str(folder / "work"), "--no-space-check"]
    )
    assert code == 0
    return folder


def test_the_command_makes_the_dataset_and_prints_the_funnel(
    one: Path, recipe: Path, small_pool: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(one / "build"), "--work", str(one / "work"), "--no-space-check"]
    assert main(["run", str(recipe), *arguments]) == 0  # finished: only told again
    out, err = capfd.readouterr()
    kept = sum(reason is None for reason in small_pool.expected.values())
    assert f"{kept} of {len(small_pool.expected)} pairs kept" in " ".join(out.split())
    assert "near_duplicate" in out
    assert "Traceback" not in err
    assert main(["run", str(recipe), *arguments, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_two_processes_and_a_work_folder_of_their_own_change_no_byte(one: Path, recipe: Path, tmp_path: Path) -> None:
    assert (
        main(["run", str(recipe), "--out", str(tmp_path / "b"), "--workers", "2", "--quiet", "--no-space-check"]) == 0
    )
    assert bytes_of(tmp_path / "b" / "dataset") == bytes_of(one / "build" / "dataset")
    assert bytes_of(tmp_path / "b" / "ledger") == bytes_of(one / "build" / "ledger")


def test_selections_and_duplicates_are_the_same_for_one_process_and_for_two(small_pool: Any, tmp_path: Path) -> None:
    select = [
        {"column": "lang_confidence", "fraction": 0.9, "of": "pool"},
        {"column": "original_width", "rows": 9, "by": "lang"},
        {"column": "original_width", "rows": 5, "first": "lowest"},
    ]
    duplicates = {
        "survivor": "lowest_score",
        "survivor_column": "lang_confidence",
        "grouping": "components",
        "merge_captions": True,
    }
    recipe = small_pool.recipe(tmp_path / "r.yaml", select=select, duplicates=duplicates)
    for workers in ("1", "2"):
        command = ["run", str(recipe), "--out", str(tmp_path / workers), "--workers", workers, "--quiet"]
        assert main([*command, "--no-space-check"]) == 0
    assert bytes_of(tmp_path / "1" / "dataset") == bytes_of(tmp_path / "2" / "dataset")
    table = pl.read_parquet(tmp_path / "1" / "dataset" / "metadata" / "*.parquet")
    assert table.select((pl.col("dup_count") == pl.col("captions_merged").list.len()).all()).item()
    assert bytes_of(tmp_path / "1" / "ledger") == bytes_of(tmp_path / "2" / "ledger")
    assert sum(file.suffix == ".tar" for file in (tmp_path / "1" / "dataset").iterdir()) == 1
    report = json.loads((tmp_path / "1" / "report.json").read_text())
    assert report["kept"] == 5
    assert [told["of"] for told in report["selections"]] == ["pool", "alive", "alive"]


def test_a_mixture_is_the_same_for_one_process_and_for_two(small_pool: Any, tmp_path: Path) -> None:
    (tmp_path / "concepts.txt").write_text("picture\nnumber 7\n", encoding="utf-8")
    (tmp_path / "weights.csv").write_text("uid,weight\n" + "0" * 31 + "1,3\n", encoding="utf-8")
    mixture = {
        "by": "original_width",
        "groups": {96: {"weight": 2, "floor": 20}},
        "samples": 45,
        "weigh": [{"column": "original_height", "steps": {0: 1, 70: 1.5}}, {"file": "weights.csv"}],
        "concepts": {"file": "concepts.txt", "cap": 20, "unmatched": "keep"},
    }
    recipe = small_pool.recipe(tmp_path / "r.yaml", mixture=mixture)
    for workers in ("1", "2"):
        command = ["run", str(recipe), "--out", str(tmp_path / workers), "--workers", workers, "--quiet"]
        assert main([*command, "--no-space-check"]) == 0
    for name in ("dataset", "ledger"):
        assert bytes_of(tmp_path / "1" / name) == bytes_of(tmp_path / "2" / name)
    reports = [json.loads((tmp_path / workers / "report.json").read_text()) for workers in ("1", "2")]
    assert reports[0]["mixture"] == reports[1]["mixture"]
    assert reports[0]["samples"] == 45


def test_status_and_ledger_tell_of_the_build(one: Path, small_pool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(one / "build")]) == 0
    assert "finished" in capsys.readouterr().out.splitlines()[-1]
    assert main(["ledger", str(one / "build"), "--to", str(one / "l.csv")]) == 0
    lines = (one / "l.csv").read_text().splitlines()
    assert len(lines) == len(small_pool.expected) + 1
    assert sum("p01.jpg" in line for line in lines) == 1


class _Fails:
    """Stands in for a step."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.__qualname__ = "fails"  # as functions have one

    def __call__(self, *args: Any) -> Any:
        raise self.error


def failed(recipe: Path, out: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> PairmillError:
    prepared = prepare(load_recipe(recipe), out, out / "work", 1)
    monkeypatch.setattr(build_dataset, "measure_captions", _Fails(error))
    with pytest.raises(PairmillError) as raised:
        run_build(prepared, out / "work", _run_here)
    assert "\n" not in str(raised.value)
    assert (out / "error.txt").is_file()
    return raised.value


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PairmillError("x: is so; do that"), "x: is so; do that"),
        (PoolError("pool/x: is damaged; fetch it again"), "pool/x: is damaged; fetch it again"),
        (OSError(28, "No space left on device"), "No space left on device; mend that and run the same command again"),
        (ValueError("odd"), "ValueError in step 'Measure captions': odd (the whole traceback is in "),
        (ValueError("two\nlines"), "ValueError in step 'Measure captions': two"),
        (KeyError("lang"), "KeyError in step 'Measure captions': lang (the whole traceback is in "),
    ],
)
def test_what_a_step_raises_is_told_in_one_line(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    assert told in str(failed(recipe, tmp_path / "b", monkeypatch, error))


def test_the_same_command_goes_on_after_a_failure(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(recipe, tmp_path / "b", monkeypatch, ValueError("odd"))
    monkeypatch.undo()
    prepared = prepare(load_recipe(recipe), tmp_path / "b", tmp_path / "b" / "work", 1)
    report = run_build(prepared, tmp_path / "b" / "work", _run_here)
    assert report["kept"] == 24
    assert not (tmp_path / "b" / "error.txt").exists()


WORKER = """Error received from SDK harness for instruction 7: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1500, in process
  File "/x/transforms/fetch_step.py", line 20, in fetch_lane
    raise PairmillError(told)
{raised}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "sdk_worker.py", line 311, in _execute
{again}
"""


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("pairmill.sharding.errors.PairmillError", "the disk: is full; free some", "the disk: is full; free some"),
        ("pairmill.sharding.errors.UsageError", "x", "x"),
        ("pairmill.transforms.pool.spec.PoolError", "p: is damaged; fetch it again", "p: is damaged; fetch it again"),
        ("OSError", "[Errno 28] No space left on device", "[Errno 28] No space left on device; mend that and run"),
        ("FileNotFoundError", "[Errno 2] No such file: 'x'", "[Errno 2] No such file: 'x'; mend that and run"),
        (
            "polars.exceptions.ComputeError",
            "bad",
            "ComputeError in step 'Fetch-ptransform-12': bad (the whole",
        ),
        (
            "ValueError",
            "a: b: c",
            "ValueError in step 'Fetch-ptransform-12': a: b: c (the whole traceback is",
        ),
    ],
)
def test_what_arrives_as_a_traceback_from_another_process_is_told_in_one_line(kind: str, text: str, told: str) -> None:
    where = "[while running 'Build/Fetch-ptransform-12']"
    error = RuntimeError(WORKER.format(raised=f"{kind}: {text}", again=f"{kind}: {text} {where}"))
    found = told_plainly(error, "B")
    assert str(found).startswith(told)
    assert "\n" not in str(found)
    assert type(found) is PairmillError


def test_an_error_of_many_lines_is_told_by_its_first() -> None:
    assert str(told_plainly(ValueError("first\nsecond"), "B")).count("\n") == 0
    assert str(told_plainly(UsageError("x [while running 'Build/Judge']"), "B")) == "x"


@pytest.fixture(autouse=True, scope="module")
def _no_sync() -> Iterator[None]:
    """What survives a loss of power is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def test_the_runner_is_named_and_not_guessed() -> None:
    assert direct.FnApiRunner.__module__ == "apache_beam.runners.portability.fn_api_runner.fn_runner"
