"""Workers that cannot do what a run asks, and addresses where nobody is: one clear line, and never a hang."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pairmill.runners import portable
from pairmill.runners.cli import main
from pairmill.transforms.greeting import Greeting, answer, differences, told_versions

SERVE = "from apache_beam.runners.worker import sdk_worker_main\nsdk_worker_main.main([])\n"
NO_PAIRMILL = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'pairmill':
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Finder())
"""


class Submitted:
    """``pairmill run --steps select`` over a pool of fifty rows, by the local job service."""

    def __init__(self, folder: Path, job_service: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.build, self.work = folder / "build", folder / "work"
        rows = "".join(f"http://127.0.0.1:1/{n}.jpg,caption of number {n},{n:032x}\n" for n in range(50))
        (folder / "pool.csv").write_text("url,caption,uid\n" + rows)
        recipe = {"name": "r", "pool": {"path": str(folder / "pool.csv")}, "language": "off"}
        (folder / "r.yaml").write_text(
            json.dumps({**recipe, "rules": ["caption_length"], "duplicates": {"near": "off"}})
        )
        self.words = [
            "run",
            str(folder / "r.yaml"),
            "--out",
            str(self.build),
            "--work",
            str(self.work),
            "--steps",
            "select",
        ]
        self.words += ["--quiet", "--runner", "portable", "--job-endpoint", job_service]

    def refused(self, *options: str, code: int = 1) -> str:
        """The one line that a run ends with."""
        assert main([*self.words, *options]) == code
        told = self.capsys.readouterr().err
        assert told.count("\n") == 1
        assert not list(self.work.glob("workers-*"))
        return told.removeprefix("pairmill: ").strip()

    def by_command(self, command: str, timeout_s: float = 40) -> str:
        """The same, with workers that the job service starts by a shell command."""
        options = ["--environment-type", "SUBPROCESS", "--environment-config", command]
        return self.refused(*options, "--worker-timeout", str(timeout_s))

    def by_script(self, text: str) -> str:
        """The same, with workers that run a Python script."""
        script = self.folder / "worker.py"
        script.write_text(text + SERVE)
        return self.by_command(f"{sys.executable} {script}")


@pytest.fixture
def submitted(tmp_path: Path, job_service: str, capsys: pytest.CaptureFixture[str]) -> Submitted:
    return Submitted(tmp_path, job_service, capsys)


def test_an_address_where_nobody_is(submitted: Submitted) -> None:
    told = submitted.refused("--job-endpoint", "localhost:1", "--environment-type", "LOOPBACK")
    assert told.startswith("--job-endpoint localhost:1: nothing answers there (Connection refused)")


def test_an_address_where_somebody_else_is(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"localhost:{other.getsockname()[1]}"
        told = submitted.refused("--job-endpoint", address, "--environment-type", "LOOPBACK")
    assert told == f"--job-endpoint {address}: what listens there is no Beam job service"


def test_a_worker_pool_that_is_not_there(submitted: Submitted) -> None:
    told = submitted.refused("--worker-pool", "localhost:1")
    assert told.startswith("the job failed before a worker had answered: is a worker pool at localhost:1")
    assert "Connection refused" in told


def test_workers_without_pairmill(submitted: Submitted) -> None:
    told = submitted.by_script(NO_PAIRMILL)
    assert told.startswith("the workers have no package 'pairmill'")


def test_workers_without_beam_are_not_waited_for(submitted: Submitted) -> None:
    told = submitted.by_command(f"{sys.executable} -c 'import nobeam'", timeout_s=1.5)
    assert told.startswith("no worker has answered in 1.5 s: has the job service's Python pairmill and Beam?")


def test_workers_of_another_version(submitted: Submitted) -> None:
    found = submitted.folder / "other" / "pillow-0.0.1.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 0.0.1\n")
    told = submitted.by_script(f"import sys; sys.path.insert(0, {str(found.parent)!r})\n")
    assert re.search(r"runs other versions than the one who submits: pillow 0\.0\.1, submitter \d+\.", told)


@pytest.mark.parametrize(
    ("mount", "told"),
    [
        ("mount -t tmpfs none {work}", "does not see in --work {work} what the one who submits wrote there"),
        (
            "mount --bind {build} {build} && mount -o remount,ro,bind {build}",
            "cannot write to --out {build}: Read-only",
        ),
    ],
)
def test_folders_that_are_not_shared(mount: str, told: str, submitted: Submitted) -> None:
    # A worker on another machine, as far as its mounts go.
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this process may make no mount namespace")
    names = {"build": str(submitted.build), "work": str(submitted.work)}
    worker = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
    found = submitted.by_command(f"unshare -m sh -c '{mount.format(**names)} && exec {worker}'")
    assert told.format(**names) in found


def test_what_differs_is_named_and_models_only_where_both_have_them() -> None:
    here = {"Python": "3.11", "pairmill": "0.1.0 (source aaaa)", "torch": "2.8.0+cpu", "timm": "1.0.16"}
    assert differences(here, {**here, "torch": "2.8.0+cu128"}) == []
    assert differences(here, {name: here[name] for name in ("Python", "pairmill")}) == []
    assert differences(here, {**here, "torch": "2.9.0+cu128"}) == ["torch 2.9.0+cu128, submitter 2.8.0+cpu"]
    there = {**here, "Python": "3.12", "pairmill": "0.1.0 (source bbbb)"}
    assert differences(here, there) == [
        "Python 3.12, submitter 3.11",
        "pairmill 0.1.0 (source bbbb), submitter 0.1.0 (source aaaa)",
    ]
    told = told_versions()
    assert {"Python", "pairmill", "apache-beam", "numpy", "polars", "pillow"} <= set(told)
    assert differences(told, told_versions()) == []


def test_a_worker_answers_once_and_leaves_nothing_in_the_work_folder(tmp_path: Path) -> None:
    greeting = Greeting("run1", str(tmp_path / "build"), str(tmp_path / "work"), "", told_versions())
    killed = tmp_path / "work" / "workers-run0"
    killed.mkdir(parents=True)
    greeting.post()
    assert greeting.answers() == 0
    answer(greeting)
    answer(greeting)
    assert greeting.answers() == 1
    greeting.withdraw()
    assert list((tmp_path / "work").iterdir()) == []
