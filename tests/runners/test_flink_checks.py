"""What stands against a job on Flink is told in one line before anything is submitted."""

from __future__ import annotations

import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from apache_beam.utils.subprocess_server import JavaJarServer

from pairmill.runners import flink
from pairmill.runners.flink import VERSION_FILE, flink_job, job_name
from pairmill.runners.flink_rest import JobManager
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.sharding.errors import PairmillError, UsageError

if TYPE_CHECKING:
    from conftest import Build, Mill


@dataclass
class Told:
    """What a job manager would tell; a cancelled job is gone at the second look."""

    version: str = "1.19.3"
    slots: int = 2
    free: int = 2
    jobs: list[dict[str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str) -> Any:
        if method == "PATCH":
            self.cancelled.append(path.split("/")[2].partition("?")[0])
            return {}
        if path == "/overview":
            return {"flink-version": self.version, "slots-total": self.slots, "slots-available": self.free}
        if path == "/taskmanagers":
            return {"taskmanagers": [{"id": "a", "slotsNumber": self.slots}] if self.slots else []}
        listed = [dict(job) for job in self.jobs]
        for job in self.jobs:
            if job["jid"] in self.cancelled:
                job["state"] = "CANCELED"
        return {"jobs": listed} if path == "/jobs/overview" else None


@contextmanager
def answering(told: Told | bytes) -> Iterator[str]:
    """A service that answers as a job manager, or with a page; yields HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = told if isinstance(told, bytes) else json.dumps(told.answer(self.command, self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PATCH = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def job(work: str = "/work", build: str = "/data/photos") -> Any:
    return SimpleNamespace(build=build, pool_store=SimpleNamespace(work=work))


def jar_for(path: Path, version: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(VERSION_FILE, f"# of Flink\nproject.version={version}\nscala.binary.version=2.12\n")
    return path


def refusal(master: str, jar: Path | None, workers: int = 2) -> str:
    choice = RunnerChoice(
        "flink",
        workers=workers,
        flink_master=master,
        environment_type="EXTERNAL",
        environment_config="localhost:50000",
        job_server_jar=str(jar) if jar else None,
    )
    with pytest.raises((PairmillError, UsageError)) as caught, flink_job(choice, job()):
        raise AssertionError("it was to be refused")
    return str(caught.value)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flink, "FREE_S", 0.0)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    return jar_for(tmp_path / "job-server.jar", "1.19.0")


def test_nothing_answers(mill: Mill, fresh: Build) -> None:
    options = ("--runner", "flink", "--flink-master", "127.0.0.1:1", "--worker-pool", "localhost:1")
    told = mill.refused(fresh, *options, code=1)
    assert told.startswith("pairmill: --flink-master 127.0.0.1:1: nothing answers there (Connection refused)")


@pytest.mark.parametrize("page", [b"<html>hello</html>", b'{"status": "fine"}', b"[]"])
def test_what_answers_is_another_service(page: bytes, jar: Path) -> None:
    with answering(page) as master:
        assert "what answers there is no Flink job manager" in refusal(master, jar)


def test_what_answers_speaks_no_http(jar: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"220 mail.example ready\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        told = refusal(f"127.0.0.1:{server.getsockname()[1]}", jar)
    assert "no Flink job manager" in told


@pytest.mark.parametrize("version", ["1.17.2", "3.0.0"])
def test_a_flink_that_beam_has_no_job_server_for(version: str, jar: Path) -> None:
    with answering(Told(version)) as master:
        assert f"it runs Flink {version}; Beam " in refusal(master, jar)


def test_a_jar_for_another_flink(tmp_path: Path) -> None:
    with answering(Told("1.20.1")) as master:
        told = refusal(master, jar_for(tmp_path / "x.jar", "1.19.0"))
    assert "is for Flink 1.19, and" in told
    assert "runs 1.20.1" in told


def test_a_jar_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.jar").write_text("<html>404</html>")
    with answering(Told()) as master:
        assert "it cannot be read as a jar" in refusal(master, tmp_path / "x.jar")
        assert "it cannot be read as a jar" in refusal(master, tmp_path / "absent.jar")


def test_a_jar_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MAVEN_CENTRAL_REPOSITORY", "GOOGLE_MAVEN_MIRROR"):
        monkeypatch.setattr(JavaJarServer, name, "http://127.0.0.1:1/maven2")
    monkeypatch.setattr(JavaJarServer, "JAR_CACHE", str(tmp_path))
    with answering(Told()) as master:
        told = refusal(master, None)
    assert told.startswith("Beam's job server for Flink 1.19 cannot be had (beam-runners-flink-1.19-job-server-")
    assert "--job-server-jar" in told


def test_no_java(monkeypatch: pytest.MonkeyPatch, jar: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)
    with answering(Told()) as master:
        assert "Java is not here" in refusal(master, jar)


@pytest.mark.parametrize(
    ("slots", "free", "line"), [(0, 0, "has 0 slots"), (2, 2, "has 2 slots"), (4, 1, "1 of 4 slots are free")]
)
def test_too_few_slots(slots: int, free: int, line: str, jar: Path) -> None:
    with answering(Told(slots=slots, free=free)) as master:
        assert line in refusal(master, jar, workers=3)


def test_a_job_left_over_the_same_work_folder_is_cancelled_and_no_other() -> None:
    def running(jid: str, name: str, state: str = "RUNNING") -> dict[str, str]:
        return {"jid": jid, "name": name, "state": state}

    ours = job_name(job("/mnt/a", "/data/photos"))
    told = Told(
        jobs=[
            running("same", ours),
            running("other-build", job_name(job("/mnt/a", "/data/again"))),
            running("ended", ours, "FINISHED"),
            running("other-work", job_name(job("/mnt/b", "/data/photos"))),
            running("stranger", "BeamApp-root-1122"),
        ]
    )
    with answering(told) as master:
        assert JobManager(master).cancel(ours) == 2
    assert told.cancelled == ["same", "other-build"]
