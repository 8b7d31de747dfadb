"""``pairmill run --spool`` and ``--min-free``, by the real command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pairmill.runners.cli import main


def test_a_run_that_would_fill_the_disk_stops_in_one_line_and_goes_on_later(
    small_pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    command = ["run", str(recipe), "--out", str(tmp_path / "build"), "--quiet", "--no-space-check"]
    assert main([*command, "--min-free", "900PB"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "are free on this disk, and a run leaves 900 PB (--min-free); free some and run the same command" in line
    assert main([*command, "--min-free", "0", "--spool", "drop"]) == 0
    assert (tmp_path / "build" / "dataset" / "manifest.json").is_file()
    assert not list((tmp_path / "build" / "work" / "spool").rglob("*.tar"))
    capsys.readouterr()
    again = ["run", str(recipe), "--out", str(tmp_path / "again"), "--work", str(tmp_path / "build" / "work")]
    assert main([*again, "--set", "seed=4"]) == 0
    assert "27 images" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "again")]) == 0
    assert "27 more were dropped from the spool" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--spool", "some"], "--spool: 'some' is not known; give keep, drop or cap:SIZE, such as cap:200GB"),
        (["--spool", "cap:much"], "--spool: 'much' is no size; write it like 500MB, 20GB or 1.5TB"),
        (["--min-free", "-1"], "--min-free: '-1' is no size"),
    ],
)
def test_wrong_sizes_are_told_before_any_work(
    small_pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str], told: str
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    assert main(["run", str(recipe), "--out", str(tmp_path / "build"), *option]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "build").exists()
