"""A run that publishes its dataset when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pairmill.runners import publish_command
from pairmill.runners.cli import main


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_dataset_goes_to_the_store_and_the_same_command_goes_on(
    small_pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    (tmp_path / "store").mkdir()
    command = ["run", str(recipe), "--out", str(tmp_path / "build"), "--publish", str(tmp_path / "store" / "set")]
    with monkeypatch.context() as patch:

        def killed(*given: object, **named: object) -> int:
            raise KeyboardInterrupt

        patch.setattr(publish_command, "publish", killed)
        assert main([*command, "--quiet"]) != 0
    assert not (tmp_path / "store" / "set").exists()
    assert main(command) == 0
    assert "files copied and checked" in capsys.readouterr().out
    assert files(tmp_path / "store" / "set") == files(tmp_path / "build" / "dataset")


def test_a_store_that_cannot_be_reached_ends_the_run_before_any_work(
    small_pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    command = ["run", str(recipe), "--out", str(tmp_path / "build"), "--quiet", "--publish"]
    assert main([*command, "nowhere://bucket/set"]) == 2
    assert "nowhere://bucket/set" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "set"), "--steps", "select"]) == 2
    assert "makes no dataset" in capsys.readouterr().err
    assert not (tmp_path / "build").exists()
