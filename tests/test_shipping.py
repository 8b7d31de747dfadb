"""What reaches the workers: the staged package installs offline, and the image copies what the package is made of."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.stager import WORKFLOW_TARBALL_FILE, Stager

from pairmill.transforms.versions import source_digest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sharding", "filters", "transforms", "pipeline", "runners")
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``-- --setup_file setup.py`` has Beam send, built of a copy of the tree: building leaves folders behind."""
    folder = tmp_path_factory.mktemp("shipping")
    copy = folder / "tree"
    copy.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = PipelineOptions([f"--setup_file={copy / 'setup.py'}"])
    resources = Stager.create_job_resources(options, str(folder), log_submission_env_dependencies=False)
    names = [beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(each.role_payload) for each in resources]
    paths = [beam_runner_api_pb2.ArtifactFilePayload.FromString(each.type_payload).path for each in resources]
    assert [name.staged_name for name in names] == [WORKFLOW_TARBALL_FILE]
    return Path(paths[0])


def test_a_worker_without_the_package_installs_what_is_staged(staged: Path, tmp_path: Path) -> None:
    # As Beam's container does, but into a folder, and with no index to ask.
    install = [
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path / "new"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *install, str(staged)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # -S: neither this tree nor an editable installation of it; then the other packages, without their .pth files.
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path / 'new')!r}]; sys.path.append({sysconfig.get_path('purelib')!r})\n"
        "import json, pairmill.runners.worker, pairmill.transforms.wiring.build_dataset as wiring\n"
        "from pairmill.transforms.versions import source_digest\n"
        "print(json.dumps([wiring.__file__, source_digest()]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    place, digest = json.loads(done.stdout)
    assert Path(place).is_relative_to(tmp_path / "new")
    assert digest == source_digest()


def test_the_image_copies_what_the_package_is_made_of() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert sorted(copied) == sorted([*FILES, *FOLDERS])
    assert all((ROOT / name).exists() for name in copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == set(copied)


def test_the_image_is_of_the_beam_and_python_that_are_tested() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    assert arguments["BEAM"] == version("apache-beam")
    assert f"EXTRAS={arguments['EXTRAS']}" in text
    assert "FROM apache/beam_python${PYTHON}_sdk:${BEAM}" in text
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert f'"{arguments["EXTRAS"]}": ' in setup
    least, above = re.findall(r">=3\.(\d+),<3\.(\d+)", setup)[0]
    assert int(least) <= int(arguments["PYTHON"].partition(".")[2]) < int(above)
