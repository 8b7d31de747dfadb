"""Imports only point right: runners → pipeline → transforms → filters → sharding."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sharding", "filters", "transforms", "pipeline", "runners")
#: What a light installation lacks, or what takes long to import.
HEAVY = ("apache_beam", "torch", "cv2", "PIL", "aiohttp", "pydantic", "yaml", "fasttext", "imagehash", "open_clip")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "processor"}


def modules(*folders: str) -> list[Path]:
    return [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(("pairmill", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, also within functions."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("path", modules(*FOLDERS), ids=str)
def test_a_module_imports_only_from_its_right(path: Path) -> None:
    allowed = FOLDERS[: FOLDERS.index(path.parts[0]) + 1]
    for name in imported(path):
        assert not name.startswith("."), f"{path} imports {name} relatively"
        parts = name.split(".")
        assert parts[0] not in FOLDERS, f"{path} imports {name} by its bare name"
        if parts[0] == "pairmill":
            assert len(parts) > 1, f"{path} imports all of pairmill"
            assert parts[1] in allowed, f"{path} imports {name}"


@pytest.mark.parametrize("path", modules("sharding", "filters"), ids=str)
def test_light_modules_name_no_heavy_one(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & set(HEAVY)


def test_light_folders_import_nothing_heavy_by_any_way() -> None:
    names = [dotted(path) for path in modules("sharding", "filters")]
    code = (
        "import sys, importlib\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(*[m for m in {HEAVY!r} if m in sys.modules])\n"
        "print(*sorted({m.split('.')[1] for m in sys.modules if m.startswith('pairmill.')}))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == ["", "filters sharding"]


def test_shard_stats_starts_in_a_light_installation() -> None:
    code = f"import sys, pairmill.runners.shard_stats\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "\n"


@pytest.mark.parametrize("command", ["pairmill.runners.cli", "pairmill.pipeline.recipe"])
def test_what_begins_a_command_waits_for_no_beam(command: str) -> None:
    code = f"import sys, {command}\nprint('apache_beam' in sys.modules, 'torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "False False\n"


@pytest.mark.parametrize(
    "name", ["pairmill.transforms.wiring.build_dataset", "pairmill.pipeline.build", "pairmill.runners.direct"]
)
def test_what_runs_without_models_waits_for_no_library_of_models(name: str) -> None:
    libraries = ("torch", "open_clip", "transformers", "timm", "ctranslate2")
    code = f"import sys, {name}\nprint(*[m for m in {libraries!r} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "\n"


def test_beam_stays_in_its_few_modules() -> None:
    named = {str(path) for path in modules(*FOLDERS) if any(n.split(".")[0] == "apache_beam" for n in imported(path))}
    assert {path for path in named if path.startswith(("transforms", "pipeline"))} == {
        "transforms/score/model_handler.py",
        "transforms/wiring/barrier.py",
        "transforms/wiring/build_dataset.py",
        "transforms/wiring/choose_rows.py",
        "transforms/wiring/first_calls.py",
        "transforms/wiring/pool_stages.py",
    }


def test_every_folder_is_a_package_with_a_word_on_what_it_holds() -> None:
    for folder in {path.parent for path in modules(*FOLDERS)}:
        init = ROOT / folder / "__init__.py"
        assert init.is_file(), f"{folder} has no __init__.py"
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), f"{init} has no docstring"


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path in modules(*FOLDERS) if set(path.with_suffix("").parts) & FORBIDDEN_NAMES]


def test_every_module_says_what_it_is() -> None:
    silent = [str(p) for p in modules(*FOLDERS) if not ast.get_docstring(ast.parse((ROOT / p).read_text("utf-8")))]
    assert silent == []
