"""The engine that runs img2dataset itself, in the environment that PAIRMILL_IMG2DATASET_PYTHON names."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pairmill.transforms.fetch.connect_guard import ConnectionRefusedByPolicy, guarded, open_guard
from pairmill.transforms.fetch.frontier import UrlTask
from pairmill.transforms.fetch.img2dataset_engine import _status_of_text, fetch_blocks_by_img2dataset
from pairmill.transforms.fetch.outcome import FetchedBytes, Want
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.fetch.status import FetchStatus
from pairmill.transforms.fetch.threads import ThreadNetwork

LINKS = Path(__file__).resolve().parents[3] / ".links"
RESIZE = {"image_size": 64, "resize_mode": "keep_ratio_largest", "resize_only_if_bigger": True, "encode_quality": 95}


def fetch_there(urls: list[str], **settings: Any) -> list[tuple[str, int, Any, str]]:
    python = os.environ.get("PAIRMILL_IMG2DATASET_PYTHON")
    if not python:
        pytest.skip("PAIRMILL_IMG2DATASET_PYTHON names no Python that has img2dataset")
    if not LINKS.is_dir():
        pytest.skip("the folder .links, which makes the package importable there, is not here")
    chosen = {"backoff_s": 0.01, "concurrency": 8, **settings}
    done = subprocess.run(
        [python, str(Path(__file__).with_name("img2dataset_trial.py"))],
        input=json.dumps({"urls": urls, "settings": chosen, "resize": RESIZE}),
        env={**os.environ, "PYTHONPATH": str(LINKS), "NO_ALBUMENTATIONS_UPDATE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(outcome) for outcome in json.loads(done.stdout)]


def photo(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def test_outcomes_are_those_of_the_fixed_list(server):
    pages = {
        "/ok.jpg": server.answer(body=photo(200, 100)),
        "/small.jpg": server.answer(body=photo(30, 40)),
        "/corrupt.jpg": server.answer(body=b"\xff\xd8\xff\xe0 nothing more"),
        "/html": server.answer(body=b"<html>gone</html>"),
        "/optout": server.answer("200 OK", photo(30, 40), "X-Robots-Tag: none"),
        "/private": server.answer("302 Found", b"", "Location: http://10.1.2.3/a.jpg"),
        "/file": server.answer("302 Found", b"", "Location: file:///etc/passwd"),
        "/loop": server.answer("302 Found", b"", "Location: /loop"),
        "/large": server.answer(body=b"\xff\xd8" + bytes(300_000)),
        "/flaky": [server.answer("503 Busy", b""), server.answer(body=photo(30, 40))],
        "/drip": server.drip,
    }
    server.pages.update(pages)
    urls = [server.url(path) for path in (*pages, "/missing")] + ["file:///etc/passwd"]
    found = fetch_there(urls, allow_hosts=[server.host], max_bytes=200_000, total_timeout_s=2.0)
    assert [status for status, *_ in found] == [
        *("ok", "ok", "undecodable", "not_an_image", "opted_out", "refused_address", "refused_scheme"),
        *("too_many_redirects", "too_large", "ok", "too_slow", "not_found", "refused_scheme"),
    ], found
    assert [attempts for _, attempts, *_ in found[-4:-1]] == [2, 1, 1]
    assert server.hits["/missing"] == server.hits["/optout"] == 1
    sizes = {name: found[0][2][name] for name in ("width", "height", "original_width", "original_height")}
    assert sizes == {"width": 64, "height": 32, "original_width": 200, "original_height": 100}
    stored = Image.open(io.BytesIO(bytes.fromhex(found[0][2]["data"])))
    assert (stored.format, stored.size) == ("JPEG", (64, 32))


def test_loopback_is_refused_where_the_recipe_does_not_allow_it(server):
    server.pages["/ok.jpg"] = server.answer(body=photo(30, 40))
    [(status, *_)] = fetch_there([server.url("/ok.jpg")])
    assert status == "refused_address"
    assert server.connections == 0


def test_where_img2dataset_is_missing_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "img2dataset", None)
    with pytest.raises(ValueError, match=r"^fetch\.engine: img2dataset cannot be imported .* pip install") as raised:
        fetch_blocks_by_img2dataset([], FetchSettings(), RESIZE, lambda resized: resized, lambda job: None)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("HTTP Error 404: Not Found", 404, "not_found"),
        ("HTTP Error 429: Too Many", 429, "rate_limited"),
        ("<urlopen error [Errno -2] Name or service not known>", None, "unknown_host"),
        ("<urlopen error [Errno -3] Temporary failure in name resolution>", None, "dns_error"),
        ("<urlopen error [Errno 111] Connection refused>", None, "connection_error"),
        ("IncompleteRead(5 bytes read, 95 more expected)", None, "connection_error"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", None, "tls_error"),
        ("The read operation timed out", None, "timeout"),
        ("what nobody foresaw", None, "bad_response"),
    ],
)
def test_error_texts(text, code, status):
    assert _status_of_text(text, code) == status


def test_a_guarded_thread_connects_only_where_it_may(server):
    import socket

    def connect() -> None:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()

    with guarded(open_guard(FetchSettings())), pytest.raises(ConnectionRefusedByPolicy):
        connect()
    for allowed in (server.host, "127.0.0.1"):
        with guarded(open_guard(FetchSettings(allow_hosts=(allowed,)))):
            connect()
    with guarded(open_guard(FetchSettings(allow_hosts=("127.0.0.1:1",)))), pytest.raises(ConnectionRefusedByPolicy):
        connect()
    connect()  # no guard, no change


def test_threads_deliver_every_task_once_also_those_that_never_end():
    delivered: list[tuple[int, FetchStatus]] = []
    all_there, end = threading.Event(), threading.Event()

    def deliver(task: UrlTask, fetched: FetchedBytes, seconds: float) -> None:
        delivered.append((task.want.row, fetched.status))
        if fetched.body is not None:
            network.release(1, 0)
        if len(delivered) == 40:
            all_there.set()

    def download(url: str) -> FetchedBytes:
        if url.endswith("7"):
            end.wait(30)
        return FetchedBytes(FetchStatus.OK, body=b"x")

    settings = FetchSettings(concurrency=2, prefetch=1, total_timeout_s=0.2)
    network = ThreadNetwork(settings, deliver, lambda error: None, download)
    network.submit([UrlTask(None, Want(row, f"http://h/{row}"), "h") for row in range(40)])
    assert all_there.wait(20)
    end.set()
    network.close()
    assert sorted(row for row, _ in delivered) == list(range(40))
    assert {row for row, status in delivered if status == "too_slow"} == {7, 17, 27, 37}
