"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import HealthCheck, settings
from PIL import Image

from pairmill.pipeline import demo
from pairmill.sharding.mirror import close_mirrors
from pairmill.sharding.pair import pair_uid

from .flink_here import FlinkHere, started
from .gcs_server import GcsServer, serve_gcs
from .s3_server import S3Server, serve_s3

# No test asserts a time, and machines are busy.
settings.register_profile("pairmill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pairmill")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs, captions and hostile files, which lies beside the project where it exists."""
    if not (SHARED_DATA / "README.md").is_file():
        pytest.skip("the folder of real data (shared/data beside the project) is not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def flink_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkHere]:
    """A Flink session cluster; tests that share it are of one xdist group."""
    yield from started(tmp_path_factory.mktemp("flink"))


@pytest.fixture
def flink(flink_session: FlinkHere) -> FlinkHere:
    """The cluster, with nothing dead."""
    flink_session.mend()
    return flink_session


@dataclass(frozen=True)
class SmallPool:
    """A folder of drawn images with captions, and what must become of each: file name to reason, None where kept."""

    folder: Path
    expected: dict[str, str | None]

    def recipe(self, path: Path, **sections: object) -> Path:
        """Write a recipe for the pool; ``sections`` replace or add its top-level keys."""
        recipe = {
            "name": "small",
            "pool": {"path": str(self.folder), "format": "files", "block_rows": 4},
            "rules": [{"image_size": {"min_side": 32}}],
            "shards": {"samples_per_shard": 8, "order": "blocks:3"},
            **sections,
        }
        path.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML too
        return path


def drawn(seed: int, width: int = 96, height: int = 80) -> Image.Image:
    """A picture of large coloured patches; no two seeds are near duplicates."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def small_pool(tmp_path_factory: pytest.TempPathFactory) -> SmallPool:
    """24 good pictures, and one row for each kind of fault that local files can have."""
    folder = tmp_path_factory.mktemp("small") / "pool"
    (folder / "sub").mkdir(parents=True)
    expected: dict[str, str | None] = {}

    def put(name: str, image: Image.Image | bytes, caption: str | None, reason: str | None = None) -> None:
        path = folder / name
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            image.save(path, quality=92)
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        expected[name] = reason

    for number in range(24):
        put(f"{'sub/' if number % 3 == 0 else ''}p{number:02d}.jpg", drawn(number), f"picture number {number}")
    good = (folder / "p01.jpg").read_bytes()
    # Of equal images the one of the smaller uid survives: let it be the first.
    first = pair_uid("p01.jpg", "picture number 1")
    again = next(text for n in count() if pair_uid("q-copy.jpg", text := f"the same bytes, take {n}") > first)
    put("q-copy.jpg", good, again, "duplicate_sha256")
    put("q-small.jpg", drawn(2, 72, 60), "a smaller copy", "near_duplicate")
    put("r-none.jpg", drawn(101), None, "no_caption")
    put("r-blank.jpg", drawn(102), " \n", "no_caption")
    put("r-page.jpg", b"<!DOCTYPE html><html>gone</html>", "a page", "not_an_image")
    put("r-torn.jpg", good[: len(good) // 2], "half of it", "undecodable")
    put("r-empty.jpg", b"", "nothing", "empty_body")
    put("r-tiny.jpg", drawn(103, 20, 60), "too small", "image_too_small")
    return SmallPool(folder, expected)


@dataclass(frozen=True)
class ChatCall:
    """A request at a chat server: its JSON, and how often the same JSON has come before."""

    request: web.Request
    body: dict[str, Any]
    seen: int

    @property
    def prompt(self) -> str:
        """The text of the last message."""
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    def answer(self, *texts: str | None, finish: str = "stop", tokens: tuple[int, int] = (7, 3)) -> web.Response:
        """The answer of a server that works; by default as many choices as were asked for, which repeat the prompt."""
        texts = texts or (f"says {self.prompt}",) * self.body.get("n", 1)
        choices = [
            {"index": number, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
            for number, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        return web.json_response({"object": "chat.completion", "choices": choices, "usage": usage})


ChatScript = Callable[[ChatCall], Awaitable[web.StreamResponse]]


async def says_prompt(call: ChatCall) -> web.StreamResponse:
    return call.answer()


class ChatServer:
    """A chat server on loopback that answers, or fails, as its script says; ``received`` holds what came, in order."""

    def __init__(self, script: ChatScript = says_prompt) -> None:
        self.script = script
        self.received: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.models = web.Response(status=404)
        self.in_flight = 0
        self.most_in_flight = 0
        self._seen: Counter[str] = Counter()
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Listen, again at the same address after a stop."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(30)

    def stop(self) -> None:
        """Cut every connection and listen no more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._list)
        runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = runner.addresses[0][1]
        ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=self.models.status, text=self.models.text)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text)
        self.received.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        seen = self._seen[text]
        self._seen[text] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.script(ChatCall(request, body, seen))
        finally:
            self.in_flight -= 1


@pytest.fixture
def start_chat_server() -> Iterator[Callable[..., ChatServer]]:
    """Starts chat servers with a script; without one a server repeats the prompt."""
    started: list[ChatServer] = []

    def start(*script: ChatScript) -> ChatServer:
        started.append(ChatServer(*script))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@contextmanager
def _transformers_serve(folder: Path, log: Path) -> Iterator[str]:
    """The address of ``transformers serve`` on the loopback device, offline, with the model of a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).parent / "transformers")
    command = [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _answers(address):
            assert server.poll() is None, f"the server ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{log.read_text()}"
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=60) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


@dataclass(frozen=True)
class ServedCaptioner:
    """The small captioner, as a folder and behind a server."""

    folder: Path
    address: str


@pytest.fixture(scope="session")
def served_captioner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedCaptioner]:
    """The small captioner behind ``transformers serve``."""
    folder = Path(demo.__file__).parent / "trained" / "captioner"
    with _transformers_serve(folder, tmp_path_factory.mktemp("served") / "log") as address:
        yield ServedCaptioner(folder, address)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3-speaking server for all tests of a process."""
    with serve_s3(tmp_path_factory.mktemp("s3"), free_port()) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """The server, with what a client needs in the environment, and a cache folder of the test's own."""
    import s3fs

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PAIRMILL_CACHE", str(tmp_path / "cache"))
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3_server
    close_mirrors()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """One server that speaks GCS for all tests of a process."""
    with serve_gcs(tmp_path_factory.mktemp("gcs"), free_port()) as server:
        yield server


@pytest.fixture
def gcs(gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GcsServer]:
    """The server, with what a client needs in the environment, and a cache folder of the test's own."""
    for name, value in gcs_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PAIRMILL_CACHE", str(tmp_path / "cache"))
    yield gcs_server
    close_mirrors()
