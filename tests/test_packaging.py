"""The wheel holds every module and data file of the tree, under ``pairmill.*`` alone."""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sharding", "filters", "transforms", "pipeline", "runners")
NO_DATA = {".pyc", ".so"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a copy of the tree: building leaves folders behind."""
    copy = tmp_path_factory.mktemp("wheel") / "tree"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy / name)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; import sys; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(copy / "out")], cwd=copy, capture_output=True, text=True, check=False
    )
    if "No module named 'setuptools'" in done.stderr:
        pytest.skip("setuptools is not installed here")
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (copy / "out").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_what_the_tree_holds(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tree = {
        f"pairmill/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in NO_DATA
    }
    assert packed == tree


def test_packed_files_are_those_of_the_tree(wheel: zipfile.ZipFile) -> None:
    for name in wheel.namelist():
        if name.startswith("pairmill/"):
            assert wheel.read(name) == (ROOT / name.removeprefix("pairmill/")).read_bytes(), name


def test_commands_name_functions_that_are_there(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(name).decode())
    commands = dict(entries["console_scripts"])
    assert set(commands) == {"pairmill", "shard-stats"}
    for target in commands.values():
        module, function = target.split(":")
        tree = ast.parse(wheel.read(f"{module.replace('.', '/')}.py"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_what_a_light_installation_asks_for(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    lines = wheel.read(name).decode().split("\n\n")[0].splitlines()
    plain = {
        line.split(":")[1].strip() for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line
    }
    assert {requirement.split(">")[0].split("<")[0] for requirement in plain} == {"numpy", "polars", "pyarrow", "rich"}
    extras = {line.split(":")[1].strip() for line in lines if line.startswith("Provides-Extra")}
    assert {"run", "models", "img2dataset", "dev"} <= extras
