from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pairmill.pipeline import demo
from pairmill.pipeline.demo.forms import picture_file
from pairmill.pipeline.demo.training.captioner_data import PROMPTS
from pairmill.pipeline.demo.training.captioner_folder import Captioner
from pairmill.pipeline.demo.training.captioner_measure import held_out
from pairmill.pipeline.demo.training.pictures import HELD_OUT_SEED

FOLDER = Path(demo.__file__).parent / "trained" / "captioner"
START_S, ANSWER_S = 120, 60


@contextmanager
def transformers_serve(folder: Path, log: Path) -> Iterator[str]:
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
        deadline = time.monotonic() + START_S
        while not answers(address):
            assert server.poll() is None, f"the server ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{log.read_text()}"
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=ANSWER_S) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def described(address: str, body: bytes, prompt: str) -> str:
    """What the server says of a JPEG file."""
    url = "data:image/jpeg;base64," + base64.b64encode(body).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
    asked = {"model": str(FOLDER), "temperature": 0, "messages": [{"role": "user", "content": content}]}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


@pytest.mark.slow
def test_transformers_serve_says_what_generate_says(tmp_path: Path) -> None:
    _, pictures = held_out(2)
    captioner = Captioner(FOLDER)
    prompts = [PROMPTS["short", "en"][0], PROMPTS["dense", "de"][0]]
    prompts.append(f'The alt text of this image is "<|image|> 日本 IMG_0001.JPG". {prompts[0]}')
    with transformers_serve(FOLDER, tmp_path / "log") as address:
        for number, picture in enumerate(pictures):
            body = picture_file(HELD_OUT_SEED, "plain", number)
            for prompt in prompts:
                assert described(address, body, prompt) == captioner.captions([picture], prompt)[0]
