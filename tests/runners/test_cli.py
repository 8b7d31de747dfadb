"""The command as a person meets it: exit codes, and one line on what is wrong."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairmill.runners import cli, run_command
from pairmill.runners.cli import main
from pairmill.sharding.errors import PairmillError

PAIRMILL = [sys.executable, "-c", "import sys; from pairmill.runners.cli import main; sys.exit(main())"]


def table(folder: Path, text: str = "path,caption\na.jpg,a dog\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pool.csv").write_text(text)
    return folder / "pool.csv"


def write(path: Path, **recipe: object) -> str:
    path.write_text(json.dumps({"pool": {"path": "pool.csv"}, **recipe}))
    return str(path)


def missing_recipe(at: Path) -> list[str]:
    return ["nowhere.yaml", "--out", str(at / "b")]


def missing_pool(at: Path) -> list[str]:
    return [write(at / "r.yaml", pool={"path": "nowhere.parquet"}), "--out", str(at / "b")]


def bad_key(at: Path) -> list[str]:
    table(at)
    return [write(at / "r.yaml", shard={"count": 3}), "--out", str(at / "b")]


def unreadable_pool(at: Path) -> list[str]:
    (at / "pool.parquet").write_bytes(b"PAR1 but no more")
    return [write(at / "r.yaml", pool={"path": "pool.parquet"}), "--out", str(at / "b")]


def wrong_column(at: Path) -> list[str]:
    table(at, "link,text\nhttp://x/,a dog\n")
    return [write(at / "r.yaml"), "--out", str(at / "b")]


def build_of_another(at: Path) -> list[str]:
    table(at)
    (at / "b").mkdir()
    (at / "b" / "build.json").write_text(json.dumps({"fingerprint": "0", "recipe": "older"}))
    return [write(at / "r.yaml"), "--out", str(at / "b")]


def work_of_another(at: Path) -> list[str]:
    table(at)
    (at / "w").mkdir()
    record = {"format": "pairmill-work", "format_version": 1, "pool": "0", "pool_name": "older.csv", "fetch": {}}
    (at / "w" / "work.json").write_text(json.dumps(record))
    return [write(at / "r.yaml"), "--out", str(at / "b"), "--work", str(at / "w")]


def no_workers(at: Path) -> list[str]:
    table(at)
    return [write(at / "r.yaml"), "--out", str(at / "b"), "--workers", "0"]


def no_such_rule_column(at: Path) -> list[str]:
    table(at)
    rule = {"column_range": {"column": "clip", "at_least": 0.3}}
    return [write(at / "r.yaml", rules=[rule]), "--out", str(at / "b")]


def clashing_uids(at: Path) -> list[str]:
    table(at, "uid,path,caption\n1,a.jpg,a dog\n1,b.jpg,a cat\n")
    return [write(at / "r.yaml"), "--out", str(at / "b"), "--no-space-check"]


def damaged_within(at: Path) -> list[str]:
    """A table that only reading to its end shows to be damaged."""
    import gzip

    packed = gzip.compress(b'{"path": "a.jpg", "caption": "a dog"}\n' * 20_000)
    (at / "pool.jsonl.gz").write_bytes(packed[: len(packed) - 40])
    return [write(at / "r.yaml", pool={"path": "pool.jsonl.gz"}), "--out", str(at / "b"), "--no-space-check"]


CASES: list[tuple[Callable[[Path], list[str]], int, str]] = [
    (missing_recipe, 2, "there is no recipe file 'nowhere.yaml' and no shipped recipe of that name; shipped are: "),
    (missing_pool, 2, "pool.path: "),
    (bad_key, 2, "shard: there is no such key; did you mean 'shards'?"),
    (unreadable_pool, 2, "is not a readable parquet file"),
    (wrong_column, 2, "no column 'caption'; it has link, text; say pool columns: {caption: NAME}"),
    (build_of_another, 2, "is the build of another recipe or pool (older); choose another --out"),
    (work_of_another, 2, "is the work folder of another pool (older.csv, this is pool.csv"),
    (no_workers, 2, "--workers 0: give at least 1"),
    (no_such_rule_column, 2, "column_range needs the column 'clip', which neither the pool nor a step has"),
    (clashing_uids, 1, "stands for two different pairs, in input file 0, block 000000000000, row 0 and input file 0"),
    (damaged_within, 1, "pool.jsonl.gz"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str, Path]]:
    """What the real command answers to every case; they run side by side."""
    runs = {}
    for case, _, _ in CASES:
        folder = tmp_path_factory.mktemp(case.__name__)
        command = [*PAIRMILL, "run", *case(folder)]
        environment = os.environ | {"PYTHONFAULTHANDLER": ""}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        runs[case.__name__] = folder, subprocess.Popen(command, env=environment, cwd=folder, **pipes)  # type: ignore[call-overload]
    answers = {}
    for name, (folder, process) in runs.items():
        out, err = process.communicate(timeout=120)
        answers[name] = process.returncode, out, err, folder
    return answers


@pytest.mark.parametrize(("case", "code", "line"), CASES, ids=[case.__name__ for case, _, _ in CASES])
def test_what_is_wrong_is_one_line_and_a_code(told: Any, case: Any, code: int, line: str) -> None:
    found, out, err, _ = told[case.__name__]
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("pairmill: ")
    assert line in lines[0]
    assert "Traceback" not in err
    assert found == code
    assert out == ""


@pytest.mark.parametrize("case", [case.__name__ for case, code, _ in CASES if code == 2])
def test_a_wrong_use_leaves_nothing_new_but_locks(told: Any, case: str) -> None:
    folder = told[case][3]
    allowed = {"r.yaml", "pool.csv", "pool.parquet", "build.json", "work.json", "pairmill.lock"}
    assert {path.name for path in folder.rglob("*") if path.is_file()} <= allowed
    if case == "build_of_another":
        assert json.loads((folder / "b" / "build.json").read_text()) == {"fingerprint": "0", "recipe": "older"}
    if case == "work_of_another":
        assert json.loads((folder / "w" / "work.json").read_text())["pool_name"] == "older.csv"


@pytest.mark.parametrize(
    "argv", [[], ["fly"], ["run"], ["run", "x.yaml"], ["run", "x", "--out", "b", "--workers", "y"]]
)
def test_wrong_options_end_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(argv)
    assert raised.value.code == 2
    assert "usage: pairmill" in capsys.readouterr().err


def test_validate_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(tmp_path)
    recipe = write(tmp_path / "r.yaml")
    before = sorted(tmp_path.rglob("*"))
    assert main(["validate", recipe]) == 0
    assert "recipe r: fine; pool" in capsys.readouterr().out
    assert main(["validate", recipe, "--set", "shards.count=no"]) == 2
    assert "shards.count: input should be a valid integer" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_recipes_and_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert "datacomp_basic: DataComp" in capsys.readouterr().out
    assert main(["recipes", "--rules"]) == 0
    out = capsys.readouterr().out
    assert "image_size: image_empty, image_too_small" in out
    assert "basic_filter: " in out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (PairmillError("all is lost"), 1, "pairmill: all is lost"),
        (OSError(28, "No space left on device", "/data/x"), 1, "pairmill: /data/x: No space left on device; mend that"),
        (OSError("odd"), 1, "pairmill: odd; mend that"),
        (KeyboardInterrupt(), 130, "pairmill: stopped; run the same command again to go on"),
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), 2, "pairmill: the package 'cv2' is missing; pip "),
    ],
)
def test_what_ends_a_run_is_one_line(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**named: object) -> int:
        raise error

    monkeypatch.setattr(run_command, "run_recipe", fail)
    assert main(["run", "x", "--out", "b"]) == code
    err = capsys.readouterr().err
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_a_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**named: object) -> int:
        raise ModuleNotFoundError("No module named 'pairmill.gone'", name="pairmill.gone")

    monkeypatch.setattr(run_command, "run_recipe", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["run", "x", "--out", "b"])


def test_the_command_itself_needs_no_heavy_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def without_yaml(name: str, *args: Any, **named: Any) -> Any:
        if name == "yaml":
            raise ModuleNotFoundError("No module named 'yaml'", name="yaml")
        return original(name, *args, **named)

    for name in [n for n in sys.modules if n.startswith(("pairmill.pipeline", "pairmill.runners.run_command", "yaml"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_yaml)
    assert cli.main(["recipes"]) == 2
    assert "pip install 'pairmill[run]'" in capsys.readouterr().err
